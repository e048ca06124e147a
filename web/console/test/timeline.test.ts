import { describe, expect, it } from "vitest";
import { changesOf, timelineOf } from "../src/timeline.js";
import type { FeedEvent } from "../src/types.js";

const start = Date.parse("2026-11-22T10:00:00Z");
let id = 0;
const event = (type: string, ms: number, part: Partial<FeedEvent> = {}): FeedEvent =>
  ({ id: ++id, type, timestamp: new Date(start + ms).toISOString(), task_id: "t", version: id, ...part });

describe("a timeline", () => {
  it("has a span for each status that lasts and a point for each event", () => {
    const { spans, points } = timelineOf([
      event("task_queued", 0, { progress: 0 }), event("task_started", 1000, { progress: 0 }),
      event("task_progress", 3000, { progress: 50 }), event("task_completed", 6000, { progress: 100 }),
    ]);
    expect(spans).toEqual([
      { status: "queued", start, end: start + 1000 }, { status: "running", start: start + 1000, end: start + 6000 },
    ]);
    expect(points.map(({ since, progress }) => [since, progress])).toEqual([[null, 0], [1000, 0], [2000, 50], [3000, 100]]);
  });

  it("has no end while the task runs", () => {
    expect(timelineOf([event("task_started", 0, { progress: 0 })]).spans).toEqual([{ status: "running", start, end: null }]);
  });

  it("shows each attempt", () => {
    const { spans } = timelineOf([
      event("task_started", 0), event("task_failed", 10), event("task_queued", 20), event("task_started", 30), event("task_completed", 40),
    ]);
    expect(spans.map(({ status, start: s, end }) => [status, s - start, end! - start])).toEqual(
      [["running", 0, 10], ["queued", 20, 30], ["running", 30, 40]]);
  });

  it("has no negative durations, even when the clock of the database stepped back", () => {
    const { points, spans } = timelineOf([event("task_queued", 5000), event("task_started", 4000), event("task_completed", 6000)]);
    expect(points.map((p) => p.since)).toEqual([null, 0, 1000]);
    expect(spans.every((s) => s.end! >= s.start)).toBe(true);
  });

  it("begins in the middle when the log has dropped earlier events", () => {
    const { spans, points } = timelineOf([event("task_progress", 0, { progress: 40 }), event("task_deleted", 100)]);
    expect(spans).toEqual([]);
    expect(points.map((p) => p.progress)).toEqual([40, 40]);
  });

  it("is empty without events", () => expect(timelineOf([])).toEqual({ spans: [], points: [] }));
});

describe("what an event changed", () => {
  it("names exactly the fields that differ", () => {
    const before = event("task_progress", 0, { progress: 10, message: "a" });
    expect(changesOf(before, event("task_progress", 1, { progress: 20, message: "a" }))).toEqual(["progress"]);
    expect(changesOf(before, event("task_completed", 1, { progress: 10, result: { n: 1 } }))).toEqual(["result"]);
    expect(changesOf(undefined, event("task_queued", 1, { progress: 0, kind: "x" }))).toEqual(["kind", "progress"]);
  });
});
