import { report } from "./errors.js";
import { TaskFeed } from "./feed.js";
import type { CustomEvents, FeedOptions } from "./types.js";

export type SocketOptions = Omit<FeedOptions, "userId" | "getToken"> & Partial<Pick<FeedOptions, "getToken">>;

/** Where a page finds its server when it does not say; the script tag's file sets it. */
export const home: { url?: string } = {};

/**
 * The API of the older client: `new TaskWebSocket(userId, token)`, `on`,
 * `connect`. It forgives what TaskFeed ends for: a handler that throws is
 * reported, and a reset goes on, told to the handlers of "reset" alone.
 */
export class TaskWebSocket<C extends CustomEvents = {}> extends TaskFeed<C> {
  constructor(userId: string, token: string | FeedOptions["getToken"], options?: SocketOptions);
  constructor(options: SocketOptions & { userId: string; token?: string });
  constructor(
    first: string | (SocketOptions & { userId: string; token?: string }),
    second?: string | FeedOptions["getToken"],
    third?: SocketOptions,
  ) {
    const { token = second, ...options } = typeof first === "string" ? { ...third, userId: first, token: second } : first;
    super({
      url: home.url,
      getToken: typeof token === "function" ? token : () => token!,
      onHandlerError: report,
      ...options,
    });
    this.on("reset", () => {});
  }

  disconnect(): Promise<void> { return this.close(); }
}
