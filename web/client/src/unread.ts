import type { FeedEvent, Unread } from "./types.js";

/** What the server has counted: the unread events up to `cursor`. */
export interface Counted extends Unread { cursor: number }

const most = 1000;

/** Keeps the number of unread events: what the server has counted, and the events after that. */
export interface Counter {
  /** undefined until the server has counted. */
  view(): Unread | undefined;
  counted(base: Counted): void;
  /** Reports whether the event counts. */
  add(event: FeedEvent): boolean;
  /** Moves the mark forward. Returns whether the server must count again, undefined when it was there already. */
  read(through: number): boolean | undefined;
}

export function newCounter(types?: readonly string[]): Counter {
  let base: Counted | undefined;
  let mark = 0;
  let events: FeedEvent[] = []; // beyond the mark; the last ones
  return {
    view() {
      if (!base) return;
      const counts = { ...base.types };
      let total = base.total;
      for (const { id, type } of events) {
        if (id <= base.cursor) continue;
        total++;
        counts[type] = (counts[type] ?? 0) + 1;
      }
      return { through: Math.max(mark, base.through), total: Math.min(total, most), more: base.more || total > most, types: counts };
    },
    counted(next) {
      base = next;
      this.read(next.through);
    },
    add(event) {
      const { id, type } = event;
      const counts = id > mark && (types?.length ? types.includes(type) : /^task_(completed|failed|canceled)$/.test(type) || !/^(task|feed)_/.test(type));
      if (counts) events = [...events.slice(-most), event];
      return counts;
    },
    read(through) {
      if (through <= mark) return;
      mark = through;
      events = events.filter(({ id }) => id > mark);
      if (base && mark >= base.cursor) base = { ...base, total: 0, more: false, types: {} };
      return !!base && base.through < mark && mark < base.cursor;
    },
  };
}
