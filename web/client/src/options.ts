import { memoryCursor } from "./cursor.js";
import { TaskFeedError } from "./errors.js";
import { isID } from "./frame.js";
import type { CursorStore, FeedOptions, Transport, WebSocketClass } from "./types.js";

/** Checked options, with defaults. */
export interface Settings extends FeedOptions {
  cursorStore: CursorStore;
  transports: Transport[];
  fetch: typeof fetch;
  WebSocket: WebSocketClass;
  min: number;
  max: number;
  random: () => number;
  /** Returns the URL to connect to, with the cursor. */
  address(transport: Transport, cursor?: number): string;
  /** The URL that takes messages to the app. */
  messages: string;
  /** Returns the URL of the number of unread events, or that which moves the mark. */
  marks(through?: number): string;
}

/** Checks the options; throws one `config` error that names all invalid ones. */
export function settle(o: FeedOptions): Settings {
  const wrong: string[] = [];
  const check = (ok: unknown, why: string): void => { if (!ok) wrong.push(why); };
  const { WebSocket = globalThis.WebSocket as WebSocketClass, fetch = globalThis.fetch } = o;
  const { min = 500, max = Math.max(30_000, min), random = Math.random } = o.backoff ?? {};
  const transports = (o.transports ?? ["websocket", "sse"]).filter((t) => (t === "sse" ? fetch : t === "websocket" && WebSocket));
  const base = parse(o.url ?? "/");
  check(base, "url must be like https://feed.example.com/prefix");
  check(typeof o.userId === "string" && !/^\.{0,2}$/.test(o.userId), "userId is missing");
  check(typeof o.getToken === "function", "getToken is missing");
  check(o.after === undefined || isID(o.after, 0), "after is no event's id");
  check(!o.types?.some((t) => !t || t.includes(",")), "types has an empty name or a comma");
  check(min >= 0 && max >= min, "backoff.max is below min");
  check(transports.length, "transports: none works here");
  check(!o.unread || !o.taskId, "unread cannot stand beside taskId");
  if (wrong.length) throw new TaskFeedError("config", wrong.join("; "));
  const narrow = (): URLSearchParams => {
    const query = new URLSearchParams();
    if (o.types?.length) query.set("types", o.types.join());
    o.feeds?.forEach((id) => query.append("feed", id));
    return query;
  };
  return {
    ...o, WebSocket, fetch: fetch!, transports, min, max, random,
    messages: base + "/v1/me/messages",
    cursorStore: o.cursorStore ?? memoryCursor(),
    address(transport, cursor) {
      const query = narrow();
      if (o.taskId) query.set("task_id", o.taskId);
      if (o.progressInterval) query.set("progress_interval", o.progressInterval + "ms");
      if (o.compact) query.set("compact", "true");
      if (o.client && transport !== "sse") query.set("client", o.client);
      if (cursor !== undefined) query.set("after", String(cursor));
      const path = transport === "sse" ? base + "/v1/events/stream" : base.replace("http", "ws") + "/ws/" + encodeURIComponent(o.userId);
      return `${path}?${query}`;
    },
    marks: (through) => base + "/v1/me/" + (through === undefined ? "unread?" + narrow() : "read?through=" + through),
  };
}

/** Returns the base URL with the scheme http or https and without a trailing slash; "" for an invalid one. */
function parse(text: string): string {
  try {
    const { href } = new URL(text, globalThis.location?.href);
    if (/^(ws|http)s?:\/\/[^/@]+\/[^?#]*$/.test(href)) return href.replace("ws", "http").replace(/\/+$/, "");
  } catch {
    // not a URL
  }
  return "";
}
