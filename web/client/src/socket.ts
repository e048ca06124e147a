import { report } from "./errors.js";
import { TaskFeed } from "./feed.js";
import type { CustomEvents, FeedOptions } from "./types.js";

export type SocketOptions = Omit<FeedOptions, "userId" | "getToken"> & Partial<Pick<FeedOptions, "getToken">>;

/** The default URL of the server; the script tag's file sets it. */
export const home: { url?: string } = {};

/**
 * The API of the older client: `new TaskWebSocket(userId, token)`, `on`, `connect`. Two
 * things that end a TaskFeed do not end it: an error of a handler is only reported, and
 * after a reset, of which only the handlers of "reset" are told, it continues.
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
