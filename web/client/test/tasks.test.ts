import { describe, expect, test } from "vitest";
import { applyEvent, type Task, type Tasks } from "../src/index.js";

const at = "2026-11-22T10:00:00.000000Z";
const e = (type: string, version: number, more?: object): any => ({ id: version, type, timestamp: at, task_id: "t1", version, ...more });
const apply = (...events: any[]): Tasks => events.reduce(applyEvent, new Map());
const t1 = (tasks: Tasks): Task | undefined => tasks.get("t1");

describe("applyEvent", () => {
  test.each([
    ["task_queued", "queued"], ["task_started", "running"], ["task_completed", "completed"],
    ["task_failed", "failed"], ["task_canceled", "canceled"],
  ])("%s makes the status %s and replaces all that can be seen", (type, status) => {
    const tasks = apply(
      e("task_failed", 1, { kind: "render", progress: 80, message: "m", error: "out of memory", result: { a: 1 } }),
      e(type, 2, { progress: 5 }),
    );
    expect(t1(tasks)).toEqual({ id: "t1", status, progress: 5, version: 2, updated_at: at });
  });

  test("a task of a group shows whose it is", () => {
    expect(t1(apply(e("task_started", 1, { progress: 0, feed: "team:1" }), e("task_progress", 2, { progress: 5, feed: "team:1" })))).toMatchObject({ user_id: "team:1", progress: 5 });
    expect(t1(apply(e("task_started", 1, { progress: 0, feed: "team:1" }), e("task_deleted", 2, { feed: "team:1" }), e("task_started", 2, { progress: 0 })))!.user_id).toBe(undefined);
  });

  test("a result and an error are kept as they come", () => {
    expect(t1(apply(e("task_completed", 3, { kind: "k", progress: 100, message: "done", result: { count: 5 } }))))
      .toEqual({ id: "t1", status: "completed", kind: "k", progress: 100, message: "done", result: { count: 5 }, version: 3, updated_at: at });
    expect(t1(apply(e("task_completed", 3, { progress: 100, result: null, truncated: ["result"] }))))
      .toMatchObject({ result: null, truncated: ["result"] });
  });

  test("task_progress sets progress and message alone; without a message there is none", () => {
    const started = e("task_started", 1, { kind: "render", progress: 0, message: "begin" });
    expect(t1(apply(started, e("task_progress", 2, { progress: 40, message: "half" })))).toMatchObject({ status: "running", kind: "render", progress: 40, message: "half" });
    expect(t1(apply(started, e("task_progress", 2, { progress: 40 })))!.message).toBe(undefined);
  });

  test("task_progress of an unknown task makes one whose status is unknown", () => {
    expect(t1(apply(e("task_progress", 7, { progress: 40 })))).toMatchObject({ status: "unknown", progress: 40, version: 7 });
  });

  test("task_deleted removes", () => {
    expect(apply(e("task_started", 1, { progress: 0 }), e("task_deleted", 2))).toEqual(new Map());
  });

  test.each(["task_started", "task_progress", "task_deleted"])("%s of a version that is not greater changes nothing", (type) => {
    const tasks = apply(e("task_completed", 5, { progress: 100 }));
    for (const version of [4, 5]) expect(applyEvent(tasks, e(type, version, { progress: 1 }))).toBe(tasks);
  });

  test("the deletion of an unknown task and events of other types change nothing", () => {
    const tasks = apply(e("task_started", 1, { progress: 0 }));
    expect(applyEvent(tasks, { ...e("task_deleted", 9), task_id: "t2" })).toBe(tasks);
    for (const type of ["invoice_sent", "task_later", "toString", "constructor", "__proto__"]) expect(applyEvent(tasks, e(type, 9))).toBe(tasks);
  });

  test("what only a snapshot knows is kept", () => {
    const known: Tasks = new Map([["t1", { id: "t1", user_id: "alice", status: "queued", progress: 0, version: 1, created_at: "2026-01-01T00:00:00Z" }]]);
    expect(t1(applyEvent(known, e("task_started", 2, { progress: 0 })))).toMatchObject({ user_id: "alice", created_at: "2026-01-01T00:00:00Z", status: "running" });
  });

  test("the map that it was given is left as it was", () => {
    const before = apply(e("task_started", 1, { progress: 0 }));
    const copy = structuredClone(before);
    applyEvent(before, e("task_progress", 2, { progress: 40 }));
    applyEvent(before, e("task_deleted", 3));
    expect(before).toEqual(copy);
  });
});
