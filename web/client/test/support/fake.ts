import type { FeedOptions, SocketLike, WebSocketClass } from "../../src/types.js";

/** A browser's socket in memory; the test is its other end. */
export class FakeSocket implements SocketLike {
  onopen: ((event: unknown) => void) | null = null;
  onmessage: ((event: unknown) => void) | null = null;
  onclose: ((event: unknown) => void) | null = null;
  onerror: ((event: unknown) => void) | null = null;
  sent: string[] = [];
  closed = false;

  constructor(readonly url: string, readonly protocols: string[]) {}

  get after(): string | null { return new URL(this.url).searchParams.get("after"); }
  get token(): string { return this.protocols[1]!.slice("bearer.".length); }

  send(text: string): void { this.sent.push(text); }
  close(): void { this.closed = true; }

  open(): this {
    this.onopen?.({});
    return this;
  }
  /** Sends frames: an object as JSON, a string unchanged. */
  say(...frames: (object | string)[]): this {
    for (const f of frames) this.onmessage?.({ data: typeof f === "string" ? f : JSON.stringify(f) });
    return this;
  }
  shut(code: number, reason = ""): void { this.onclose?.({ code, reason }); }
  /** Fails as a browser's socket does: without a reason. */
  fail(): void {
    this.onerror?.({});
    this.shut(1006);
  }
}

/** The created sockets, oldest first. */
export class FakeNet {
  readonly sockets: FakeSocket[] = [];
  readonly WebSocket: WebSocketClass;

  constructor() {
    const { sockets } = this;
    this.WebSocket = class extends FakeSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        sockets.push(this);
      }
    };
  }

  get last(): FakeSocket { return this.sockets.at(-1)!; }

  options(more?: Partial<FeedOptions>): FeedOptions {
    return {
      url: "http://taskfeed.test", userId: "alice", getToken: () => "secret-token", transports: ["websocket"],
      WebSocket: this.WebSocket, backoff: { random: () => 1 }, ...more,
    };
  }
}

export const event = (id: number, more?: object): object =>
  ({ id, type: "task_progress", timestamp: "2026-11-22T10:00:00.000000Z", task_id: "t1", version: id, progress: 40, ...more });

export const live = (cursor: number): object => ({ type: "feed_live", cursor });

export const reset = (reason: string, cursor: number): object => ({ type: "feed_reset", reason, cursor });

/** A token with an invalid signature, which the client does not check. */
export const jwt = (name: string, expires: number): string =>
  `e30.${Buffer.from(JSON.stringify({ jti: name, exp: expires / 1000 })).toString("base64url")}.c2ln`;

/** Runs everything that waits only for promises. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 50; i++) await Promise.resolve();
}

/** A promise and the function that resolves it. */
export function gate(): { opened: Promise<void>; open: () => void } {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => { open = resolve; });
  return { opened, open };
}
