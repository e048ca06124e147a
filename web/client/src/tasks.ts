import type { Task, TaskEvents } from "./types.js";

const statusOf: Record<string, Task["status"]> = {
  __proto__: null as never, // an app's own event may be called "constructor"
  task_queued: "queued",
  task_started: "running",
  task_completed: "completed",
  task_failed: "failed",
  task_canceled: "canceled",
};

/** Tasks by id. */
export type Tasks = ReadonlyMap<string, Task>;

/**
 * Returns the tasks after the event; the same map when it changes nothing. An event of a
 * status replaces the visible state of its task, task_progress sets only progress and
 * message, task_deleted removes the task. Events with a version that is not greater than
 * the known one, and events of other types, change nothing.
 */
export function applyEvent(tasks: Tasks, event: TaskEvents[keyof TaskEvents] | { type: string }): Tasks {
  const e = event as Record<string, any> & { type: string };
  const old = tasks.get(e.task_id);
  const status = statusOf[e.type];
  if (!status && e.type !== "task_progress" && e.type !== "task_deleted" || old && e.version <= old.version) return tasks;
  const next = new Map(tasks);
  if (e.type === "task_deleted") return next.delete(e.task_id) ? next : tasks;
  const task: Task = {
    ...(status ? { user_id: e.feed ?? old?.user_id, created_at: old?.created_at, kind: e.kind, result: e.result, error: e.error } : old),
    id: e.task_id,
    status: status ?? old?.status ?? "unknown",
    progress: e.progress ?? 0,
    message: e.message,
    version: e.version,
    truncated: status ? e.truncated : old?.truncated,
    updated_at: e.timestamp,
  };
  return next.set(task.id, task);
}
