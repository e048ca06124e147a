import type { Connection, NamedClient } from "./types.js";

/** A period during which a user was connected, as far as this page knows. */
export interface Stay {
  id: string;
  transport: string;
  start: number; // ms since 1970
  /** When the connection ended; null while it lasts. */
  end: number | null;
  /** The last event that the connection has received. */
  cursor: number;
}

/**
 * Returns the stays after reading the connections. A server forgets connections that
 * ended long ago, and all of them when it restarts; known stays remain.
 */
export function afterLook(stays: readonly Stay[], found: readonly Connection[], now: number): Stay[] {
  const listed = found.map((c) => ({
    id: c.id, transport: c.transport, start: Date.parse(c.since), end: c.until ? Date.parse(c.until) : null, cursor: c.cursor,
  }));
  const ids = new Set(listed.map(({ id }) => id));
  const gone = stays.filter(({ id }) => !ids.has(id)).map((stay) => ({ ...stay, end: stay.end ?? now }));
  return [...gone, ...listed].sort((a, b) => a.start - b.start);
}

/** Returns the stays that last until a time or longer. */
export function since(stays: readonly Stay[], time: number): Stay[] {
  return stays.filter(({ end }) => end === null || end >= time);
}

/** Returns by when a client had an event, as far as is known; null when it has not got it. */
export function hadBy({ deliveries }: Pick<NamedClient, "deliveries">, id: number): string | null {
  return deliveries.find(({ through }) => through >= id)?.at ?? null;
}
