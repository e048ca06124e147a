import { applyEvent } from "../../client/src/tasks.js";
import { matches, type TaskFilter } from "./filters.js";
import type { FeedEvent, Task } from "./types.js";

/** A task of the list, with its changes since the list was loaded. */
export interface Row {
  task: Task;
  /** Deleted, or given to another user. */
  deleted: boolean;
  /** Does not match the filter any more; the row stays until the list is loaded again. */
  left: boolean;
}

/** A page of the list, updated by events. */
export interface Rows {
  rows: Row[];
  /** Ids of tasks that belong on this page but are not shown yet. */
  fresh: ReadonlySet<string>;
}

export function rowsOf(tasks: readonly Task[]): Rows {
  return { rows: tasks.map((task) => ({ task, deleted: false, left: false })), fresh: new Set() };
}

/**
 * Returns the rows after the event, the same object when it changes nothing. An
 * event changes a row only when its version is greater than the row's, so events
 * that the page already shows may be applied again.
 */
export function applyToRows(state: Rows, event: FeedEvent, filter: TaskFilter, first: boolean): Rows {
  if (event.task_id === undefined || event.version === undefined) return state;
  const at = state.rows.findIndex((row) => row.task.id === event.task_id);
  if (at >= 0) return changeRow(state, at, event, filter);
  if (event.type === "task_deleted") return without(state, event.task_id);
  return first && belongs(event, filter) ? { ...state, fresh: new Set(state.fresh).add(event.task_id) } : state;
}

function changeRow(state: Rows, at: number, event: FeedEvent, filter: TaskFilter): Rows {
  const row = state.rows[at]!;
  if (event.version! <= row.task.version) return state;
  const rows = [...state.rows];
  if (event.type === "task_deleted") {
    rows[at] = { task: { ...row.task, version: event.version! }, deleted: true, left: true };
    return { ...state, rows };
  }
  const task = changeTask(row.task, event);
  if (!task || task === row.task) return state;
  rows[at] = { task, deleted: false, left: matches(filter, task) === false };
  return { ...state, rows };
}

/** Returns the task after one of its events: the same object when the event is older, null when the task is deleted. */
export function changeTask(task: Task, event: FeedEvent): Task | null {
  const next = applyEvent(new Map([[task.id, task]]), event).get(task.id);
  if (!next) return null;
  if (next === task) return task;
  return { ...next, user_id: event.user_id ?? task.user_id, created_at: task.created_at, source: task.source } as Task;
}

function without(state: Rows, id: string): Rows {
  if (!state.fresh.has(id)) return state;
  const fresh = new Set(state.fresh);
  fresh.delete(id);
  return { ...state, fresh };
}

/**
 * Whether a task that is not on the first page belongs there now: it has just been
 * created, or it has just got the status of the filter. In a list that starts with the
 * oldest, new tasks come last, so they never do.
 */
function belongs(event: FeedEvent, filter: TaskFilter): boolean {
  if (filter.sort === "created" || filter.sort === "updated") return false;
  const created = event.version === 1;
  if (!created && filter.status.length === 0 && filter.sort !== "-updated") return false;
  const [task] = applyEvent(new Map(), event).values();
  if (!task) return false;
  if (task.status === "unknown") return false; // progress of a task that the list does not have
  const user_id = event.user_id;
  return matches(filter, { ...task, user_id, created_at: created ? event.timestamp : undefined } as Task) === true;
}
