import { get, Problem, request } from "./api.js";
import { apiQuery, type TaskFilter } from "./filters.js";
import { admin } from "./session.js";
import type { FeedEvent, Page, Task } from "./types.js";

/** The URL of the tasks that the session may see. */
export function tasksPath(...parts: string[]): string {
  return [admin.value ? "v1/tasks" : "v1/me/tasks", ...parts.map(encodeURIComponent)].join("/");
}

export const pageSize = 50;

export function listTasks(filter: TaskFilter, after: string, signal: AbortSignal): Promise<Page<Task>> {
  const query = apiQuery(filter, admin.value);
  query.set("limit", String(pageSize));
  if (after) query.set("after", after);
  return get<Page<Task>>(tasksPath(), { query, signal });
}

/** Saves everything that the filter selects as a file. */
export async function exportTasks(filter: TaskFilter, accept: "text/csv" | "application/x-ndjson"): Promise<Blob> {
  const answer = await request(tasksPath(), { query: apiQuery(filter, admin.value), accept });
  return answer.blob();
}

/** An event in a list: the fields of its type are in `data`. */
interface ListedEvent {
  id: number;
  type: string;
  timestamp: string;
  user_id?: string;
  task_id?: string;
  version?: number;
  data?: Record<string, unknown> | null;
}

/** Converts a listed event into the form of a frame. */
export function flat({ data, ...fields }: ListedEvent & { since_previous_ms?: number }): FeedEvent {
  delete fields.since_previous_ms;
  return { ...data, ...fields };
}

/** A task with its events. The task is null when it is deleted. */
export interface History {
  task: Task | null;
  events: FeedEvent[];
  /** Whether there are more events than were loaded. */
  more: boolean;
}

const mostEvents = 2000;

export async function readHistory(id: string, signal: AbortSignal): Promise<History> {
  const [task, events] = await Promise.all([
    found(get<Task>(tasksPath(id), { signal }), null),
    found(readEvents(id, signal), { events: [], more: false }),
  ]);
  return { task, ...events };
}

/** Returns the requested value, or the replacement when it does not exist. */
async function found<T, N>(asked: Promise<T>, nothing: N): Promise<T | N> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return nothing;
    throw error;
  }
}

async function readEvents(id: string, signal: AbortSignal): Promise<Omit<History, "task">> {
  const events: FeedEvent[] = [];
  let after: string | undefined = "";
  while (after !== undefined && events.length < mostEvents) {
    const page: Page<ListedEvent> = await get(tasksPath(id, "events"), { query: { limit: "500", ...(after && { after }) }, signal });
    events.push(...page.items.map(flat));
    after = page.next;
  }
  return { events, more: after !== undefined };
}
