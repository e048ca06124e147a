import { describe, expect, it } from "vitest";
import { noFilter, type TaskFilter } from "../src/filters.js";
import { applyToRows, changeTask, rowsOf, type Rows } from "../src/rows.js";
import type { FeedEvent, Task } from "../src/types.js";

const task = (id: string, part: Partial<Task> = {}): Task => ({
  id, user_id: "alice", kind: "export", status: "running", progress: 10, version: 2,
  created_at: "2026-11-22T10:00:00Z", updated_at: "2026-11-22T10:00:01Z", ...part,
});
let id = 0;
const event = (type: string, task_id: string, version: number, part: Partial<FeedEvent> = {}): FeedEvent =>
  ({ id: ++id, type, timestamp: "2026-11-22T10:01:00Z", task_id, version, user_id: "alice", ...part });
const apply = (state: Rows, events: FeedEvent[], filter: Partial<TaskFilter> = {}, first = true): Rows =>
  events.reduce((s, e) => applyToRows(s, e, { ...noFilter, ...filter }, first), state);

describe("a row of the list", () => {
  it("follows the events of its task and keeps other fields", () => {
    const { rows } = apply(rowsOf([task("a"), task("b")]), [event("task_progress", "b", 3, { progress: 60, message: "half" })]);
    expect(rows[1]!.task).toMatchObject({ status: "running", progress: 60, message: "half", version: 3, kind: "export", user_id: "alice" });
    expect(rows[1]!.task.created_at).toBe("2026-11-22T10:00:00Z");
    expect(rows[1]!.task.updated_at).toBe("2026-11-22T10:01:00Z");
  });

  it("is not changed by events that it already shows, however often they come", () => {
    const start = rowsOf([task("a", { version: 5, progress: 50 })]);
    expect(apply(start, [event("task_progress", "a", 4, { progress: 40 }), event("task_progress", "a", 5, { progress: 50 })])).toBe(start);
  });

  it("does not go back when events come in another order", () => {
    const { rows } = apply(rowsOf([task("a")]), [event("task_completed", "a", 5, { progress: 100, result: 1 }), event("task_progress", "a", 4, { progress: 40 })]);
    expect(rows[0]!.task).toMatchObject({ status: "completed", progress: 100, version: 5 });
  });

  it("stays when its task is deleted, and says so", () => {
    const { rows } = apply(rowsOf([task("a")]), [event("task_deleted", "a", 3)]);
    expect(rows[0]).toMatchObject({ deleted: true, left: true });
  });

  it("is restored when the id is used again", () => {
    const { rows } = apply(rowsOf([task("a")]), [event("task_deleted", "a", 3), event("task_queued", "a", 4, { progress: 0 })]);
    expect(rows[0]).toMatchObject({ deleted: false, left: false, task: { status: "queued" } });
  });

  it("stays when it does not match the filter any more, and says so", () => {
    const { rows } = apply(rowsOf([task("a")]), [event("task_completed", "a", 3, { progress: 100 })], { status: ["running"] });
    expect(rows[0]).toMatchObject({ left: true, deleted: false });
  });

  it("is not changed by events without a task", () => {
    const start = rowsOf([task("a")]);
    expect(apply(start, [{ id: 9, type: "invoice_ready", timestamp: "2026-11-22T10:00:00Z" }])).toBe(start);
  });
});

describe("the number of new tasks", () => {
  const fresh = (events: FeedEvent[], filter: Partial<TaskFilter> = {}, first = true): number =>
    apply(rowsOf([task("a")]), events, filter, first).fresh.size;

  it("counts a task once", () => {
    expect(fresh([event("task_queued", "n", 1, { progress: 0 }), event("task_started", "n", 2, { progress: 0 })])).toBe(1);
  });
  it("omits tasks that only change: they are on a later page", () => {
    expect(fresh([event("task_started", "old", 7, { progress: 0 }), event("task_progress", "older", 9, { progress: 3 })])).toBe(0);
  });
  it("counts tasks whose new status matches the filter", () => {
    expect(fresh([event("task_failed", "old", 7, { progress: 3, error: "x" })], { status: ["failed"] })).toBe(1);
    expect(fresh([event("task_completed", "old", 7, { progress: 3 })], { status: ["failed"] })).toBe(0);
  });
  it("omits tasks that do not match the filter", () => {
    expect(fresh([event("task_queued", "n", 1, { progress: 0, kind: "import" })], { kind: "export" })).toBe(0);
    expect(fresh([event("task_queued", "n", 1, { progress: 0, user_id: "bob" })], { user: "alice" })).toBe(0);
  });
  it("forgets a task that is deleted before it was shown", () => {
    expect(fresh([event("task_queued", "n", 1, { progress: 0 }), event("task_deleted", "n", 2)])).toBe(0);
  });
  it("is zero on later pages, and where new tasks come last", () => {
    const created = [event("task_queued", "n", 1, { progress: 0 })];
    expect(fresh(created, {}, false)).toBe(0);
    expect(fresh(created, { sort: "created" })).toBe(0);
  });
  it("counts every change in a list by last change", () => {
    expect(fresh([event("task_started", "old", 7, { progress: 0 })], { sort: "-updated" })).toBe(1);
  });
});

describe("a task after an event", () => {
  it("is gone when it was deleted", () => expect(changeTask(task("a"), event("task_deleted", "a", 3))).toBeNull());
  it("is the same object when the event is older", () => {
    const t = task("a");
    expect(changeTask(t, event("task_deleted", "a", 2))).toBe(t);
  });
  it("loses fields that the event of the new status does not have", () => {
    expect(changeTask(task("a", { error: "disk full", status: "failed" }), event("task_queued", "a", 3, { progress: 0 }))!.error).toBeUndefined();
  });
});
