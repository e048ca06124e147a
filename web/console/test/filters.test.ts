import { describe, expect, it } from "vitest";
import {
  apiQuery, eventFilterQuery, eventMatches, filterQuery, isFiltered, matches, noFilter, readEventFilter, readFilter, type TaskFilter,
} from "../src/filters.js";
import type { FeedEvent, Task } from "../src/types.js";

const filter = (part: Partial<TaskFilter>): TaskFilter => ({ ...noFilter, ...part });

describe("the filter in the URL", () => {
  it("is what it was when it is read again", () => {
    const whole = filter({
      status: ["queued", "failed"], user: "o'hara & söhne", kind: "export,csv", source: "exports", text: "50 % <b>",
      from: "2026-11-22T10:00", to: "2026-11-23T00:00:30", sort: "-updated",
    });
    expect(readFilter(new URLSearchParams(filterQuery(whole).toString()))).toEqual(whole);
  });

  it("is empty when nothing is filtered", () => {
    expect(filterQuery(noFilter).toString()).toBe("");
    expect(readFilter(new URLSearchParams())).toEqual(noFilter);
  });

  it.each([
    ["status=nonsense,failed&status=queued", { status: ["queued", "failed"] }],
    ["sort=size", {}],
    ["from=yesterday&to=2026-13-45T99:99", {}],
    ["unknown=1&user=", {}],
  ] as [string, Partial<TaskFilter>][])("leaves out what it does not understand: %s", (query, want) => {
    expect(readFilter(new URLSearchParams(query))).toEqual(filter(want));
  });

  it("counts as filtered by anything but the order", () => {
    expect(isFiltered(filter({ sort: "updated" }))).toBe(false);
    expect(isFiltered(filter({ kind: "x" }))).toBe(true);
  });
});

describe("the filter as the query of the API", () => {
  it("has only known parameters, and times with their zone", () => {
    const query = apiQuery(filter({ status: ["failed"], user: "bob", kind: "k", source: "s", text: "t", from: "2026-11-22T10:00", sort: "created" }), true);
    expect(Object.fromEntries(query)).toEqual({
      status: "failed", user_id: "bob", kind: "k", source: "s", q: "t", created_after: new Date("2026-11-22T10:00").toISOString(), sort: "created",
    });
  });

  it("names no user where only the user's own tasks are listed", () => {
    expect(apiQuery(filter({ user: "team:blue" }), false).toString()).toBe("feed=team%3Ablue");
  });
});

describe("whether a task matches the filter", () => {
  const task = {
    id: "Report-1", user_id: "alice", kind: "export", source: "exports", status: "running", message: "Rendering", error: null, created_at: "2026-11-22T10:00:00Z",
  } as Task;
  const at = (ms: number): string => {
    const d = new Date(Date.parse(task.created_at) + ms);
    return new Date(d.getTime() - d.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
  };

  it.each([
    ["nothing asked", {}, true],
    ["its status among others", { status: ["queued", "running"] }, true],
    ["another status", { status: ["failed"] }, false],
    ["text of its id, whatever the case", { text: "report" }, true],
    ["text of its message", { text: "RENDER" }, true],
    ["text that is nowhere", { text: "upload" }, false],
    ["its kind", { kind: "export" }, true],
    ["the beginning of its kind", { kind: "exp" }, false],
    ["created from then on", { from: at(0) }, true],
    ["created later", { from: at(1000) }, false],
    ["created before then", { to: at(0) }, false],
    ["its user", { user: "alice" }, true],
    ["another user", { user: "bob" }, false],
    ["its source", { source: "exports" }, true],
    ["another source", { source: "jobs" }, false],
  ] as [string, Partial<TaskFilter>, boolean][])("%s", (_, part, want) => {
    expect(matches(filter(part), task)).toBe(want);
  });

  it("is unknown when the filter names an owner and the task's owner is not known", () => {
    expect(matches(filter({ user: "alice" }), { ...task, user_id: undefined })).toBeNull();
    expect(matches(filter({ source: "exports" }), { ...task, source: undefined })).toBeNull();
    expect(matches(filter({ user: "alice", kind: "x" }), { ...task, user_id: undefined })).toBe(false);
  });
});

describe("the filter of the live tail", () => {
  const event: FeedEvent = { id: 1, type: "task_failed", timestamp: "2026-11-22T10:00:00Z", task_id: "t1", user_id: "alice", error: "Disk full" };

  it("is what it was when it is read again", () => {
    const f = { types: ["task_failed", "invoice_ready"], text: "a b", user: "x" };
    expect(readEventFilter(new URLSearchParams(eventFilterQuery(f).toString()))).toEqual(f);
  });

  it.each([
    [{}, true], [{ types: ["task_failed"] }, true], [{ types: ["task_queued"] }, false],
    [{ text: "disk" }, true], [{ text: "t1" }, true], [{ text: "tape" }, false],
    [{ user: "alice" }, true], [{ user: "bob" }, false],
  ])("%j", (part, want) => {
    expect(eventMatches({ types: [], text: "", user: "", ...part }, event)).toBe(want);
  });
});
