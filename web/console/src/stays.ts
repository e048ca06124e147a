import type { Connection } from "./types.js";

/** A time during which a user was connected, as far as this page knows. */
export interface Stay {
  id: string;
  transport: string;
  start: number; // ms since 1970
  /** When the page noticed that the connection was gone; null while it lasts. */
  end: number | null;
  /** The last event that the connection has got. */
  cursor: number;
}

/**
 * Returns the stays after a look at the connections. The server keeps no history
 * of connections, so those that ended before the first look are not known.
 */
export function afterLook(stays: readonly Stay[], found: readonly Connection[], now: number): Stay[] {
  const open = new Map(found.map((c) => [c.id, c]));
  const known = stays.map((stay) => {
    const c = open.get(stay.id);
    open.delete(stay.id);
    return c ? { ...stay, end: null, cursor: c.cursor } : { ...stay, end: stay.end ?? now };
  });
  const begun = [...open.values()].map((c) =>
    ({ id: c.id, transport: c.transport, start: Date.parse(c.since), end: null, cursor: c.cursor }));
  return [...known, ...begun].sort((a, b) => a.start - b.start);
}
