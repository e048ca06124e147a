import { closed, TaskFeedError } from "./errors.js";
import type { FeedEvent, ResetReason } from "./types.js";

/** An event, or one of the protocol's own frames. */
export type Frame =
  | FeedEvent
  | { type: "feed_live"; cursor: number }
  | { type: "feed_read"; through: number }
  | { type: "feed_reset"; cursor: number; reason: ResetReason };

export const bad = (why: string): TaskFeedError =>
  new TaskFeedError("protocol", "the server does not speak the taskfeed protocol: " + why);

export const isID = (id: unknown, least: number): id is number =>
  Number.isSafeInteger(id) && (id as number) >= least;

/**
 * Parses one text frame. Returns undefined for texts without an event: the word pong
 * and frames of a later version of the protocol. Throws for anything else that it
 * cannot parse, because ignoring that might lose an event, and for the frame with which
 * the server ends a stream.
 */
export function readFrame(text: string): Frame | undefined {
  if (text.trim() === "pong") return;
  let f: any;
  try {
    f = JSON.parse(text);
  } catch {
    // f stays undefined
  }
  if (!f || typeof f !== "object" || Array.isArray(f)) throw bad("a frame is no JSON object");
  const { type, id } = f;
  if (type === "feed_live" || type === "feed_reset") {
    if (!isID(f.cursor, 0)) throw bad(`the cursor of ${type} is no event's id`);
    return f;
  }
  if (type === "feed_closed") throw closed(+f.code || 1006, f.reason); // over SSE, in place of a close frame
  if (type === "feed_read" && isID(f.through, 0)) return f;
  if (id === undefined || String(type).startsWith("feed_")) return;
  if (!isID(id, 1)) throw bad("an id is no integer from 1 to 9007199254740991");
  if (!type || typeof type !== "string" || isNaN(Date.parse(f.timestamp))) throw bad(`event ${id} has no type or no time`);
  return f;
}
