import type { FeedEvent, Status } from "./types.js";

/** A period of a task in one status. `end` is null while it lasts. */
export interface Span {
  status: Status;
  start: number; // ms since 1970
  end: number | null;
}

/** One event as a point in the timeline. */
export interface Point {
  event: FeedEvent;
  at: number; // ms since 1970
  /** ms since the previous event; never negative, even when clocks step back. */
  since: number | null;
  /** The progress of the task after the event; null when unknown. */
  progress: number | null;
  status: Status | null;
}

export interface Timeline {
  spans: Span[];
  points: Point[];
}

const statusOf: Record<string, Status> = {
  task_queued: "queued", task_started: "running", task_completed: "completed", task_failed: "failed", task_canceled: "canceled",
};

const lasting: readonly Status[] = ["queued", "running"];

/** Computes the timeline of a task's events, which are in the order of the log. Its times never decrease. */
export function timelineOf(events: readonly FeedEvent[]): Timeline {
  const spans: Span[] = [];
  const points: Point[] = [];
  let last: Point | undefined;
  for (const event of events) {
    const at = Math.max(Date.parse(event.timestamp), last?.at ?? -Infinity);
    const status = statusOf[event.type] ?? (event.type === "task_deleted" ? null : last?.status ?? null);
    const point: Point = {
      event, at, status,
      since: last ? at - last.at : null,
      progress: event.progress ?? (event.type === "task_completed" ? 100 : last?.progress ?? null),
    };
    points.push(point);
    if (status !== (last?.status ?? null)) {
      const open = spans.at(-1);
      if (open && open.end === null) open.end = at;
      if (status && lasting.includes(status)) spans.push({ status, start: at, end: null });
    }
    last = point;
  }
  return { spans, points };
}

/** Returns the fields of an event that differ from the task before it, by name. */
export function changesOf(before: FeedEvent | undefined, event: FeedEvent): string[] {
  const names = ["kind", "progress", "message", "result", "error"];
  const same = (name: string): boolean => JSON.stringify(before?.[name] ?? null) === JSON.stringify(event[name] ?? null);
  return names.filter((name) => name in event && !same(name));
}
