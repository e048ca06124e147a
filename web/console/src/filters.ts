import { statuses, type FeedEvent, type Status, type Task } from "./types.js";

export type SortOrder = "-created" | "created" | "-updated" | "updated";
const sorts: readonly SortOrder[] = ["-created", "created", "-updated", "updated"];

/** The filter of the list of tasks. Empty: everything. */
export interface TaskFilter {
  status: Status[];
  user: string;
  kind: string;
  source: string;
  text: string;
  /** Bounds of the time of creation: local times in the format of a datetime-local field. */
  from: string;
  to: string;
  sort: SortOrder;
}

export const noFilter: TaskFilter = { status: [], user: "", kind: "", source: "", text: "", from: "", to: "", sort: "-created" };

/** Reads a filter from the query of the console's URL. Ignores invalid values. */
export function readFilter(query: URLSearchParams): TaskFilter {
  const wanted = query.getAll("status").flatMap((s) => s.split(","));
  const sort = query.get("sort") as SortOrder;
  return {
    status: statuses.filter((s) => wanted.includes(s)),
    user: query.get("user") ?? "",
    kind: query.get("kind") ?? "",
    source: query.get("source") ?? "",
    text: query.get("text") ?? "",
    from: localTime(query.get("from")),
    to: localTime(query.get("to")),
    sort: sorts.includes(sort) ? sort : noFilter.sort,
  };
}

function localTime(text: string | null): string {
  return text && !isNaN(Date.parse(text)) && /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?$/.test(text) ? text : "";
}

/** Returns the filter as the query of the console's URL, without default values. */
export function filterQuery(f: TaskFilter): URLSearchParams {
  const query = new URLSearchParams();
  if (f.status.length > 0) query.set("status", f.status.join());
  for (const name of ["user", "kind", "source", "text", "from", "to"] as const) if (f[name]) query.set(name, f[name]);
  if (f.sort !== noFilter.sort) query.set("sort", f.sort);
  return query;
}

/** Returns the filter as the query of the API. */
export function apiQuery(f: TaskFilter, asAdmin: boolean): URLSearchParams {
  const query = new URLSearchParams();
  if (f.status.length > 0) query.set("status", f.status.join());
  if (f.user) query.set(asAdmin ? "user_id" : "feed", f.user);
  if (f.kind) query.set("kind", f.kind);
  if (f.source) query.set("source", f.source);
  if (f.text) query.set("q", f.text);
  if (f.from) query.set("created_after", new Date(f.from).toISOString());
  if (f.to) query.set("created_before", new Date(f.to).toISOString());
  if (f.sort !== noFilter.sort) query.set("sort", f.sort);
  return query;
}

export function isFiltered(f: TaskFilter): boolean {
  return filterQuery({ ...f, sort: noFilter.sort }).size > 0;
}

/**
 * Whether a task matches the filter, as far as its fields are known. `null`: its owner or
 * its source is not known and the filter names one. Events do not name the source.
 */
export function matches(f: TaskFilter, task: Partial<Task> & Pick<Task, "id">): boolean | null {
  if (f.status.length > 0 && !f.status.includes(task.status as Status)) return false;
  if (f.kind && task.kind !== f.kind) return false;
  if (f.text && !contains(f.text, task.id, task.message, task.error)) return false;
  const created = task.created_at ? Date.parse(task.created_at) : NaN;
  if (f.from && created < Date.parse(f.from)) return false;
  if (f.to && created >= Date.parse(f.to)) return false;
  if ((f.user && task.user_id === undefined) || (f.source && task.source === undefined)) return null;
  if (f.source && task.source !== f.source) return false;
  return !f.user || task.user_id === f.user;
}

/** The filter of the live tail. Empty: everything. */
export interface EventFilter {
  types: string[];
  text: string;
  user: string;
}

export function readEventFilter(query: URLSearchParams): EventFilter {
  const types = query.getAll("type").flatMap((s) => s.split(",")).map((s) => s.trim()).filter(Boolean);
  return { types, text: query.get("text") ?? "", user: query.get("user") ?? "" };
}

export function eventFilterQuery(f: EventFilter): URLSearchParams {
  const query = new URLSearchParams();
  if (f.types.length > 0) query.set("type", f.types.join());
  if (f.text) query.set("text", f.text);
  if (f.user) query.set("user", f.user);
  return query;
}

export function eventMatches(f: EventFilter, event: FeedEvent): boolean {
  if (f.types.length > 0 && !f.types.includes(event.type)) return false;
  if (f.user && event.user_id !== f.user) return false;
  return !f.text || contains(f.text, JSON.stringify(event));
}

function contains(what: string, ...where: (string | null | undefined)[]): boolean {
  const wanted = what.toLowerCase();
  return where.some((s) => s?.toLowerCase().includes(wanted));
}
