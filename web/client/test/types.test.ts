import { expectTypeOf, test } from "vitest";
import { TaskFeed, type FeedEvent, type Gap, type StateChange, type TaskCompleted } from "../src/index.js";

// What the compiler knows of events; tsc checks this file, running it checks nothing.

const options = { url: "http://h", userId: "a", getToken: () => "t" };

test("events are told apart by their type", () => {
  const feed = new TaskFeed(options);
  feed.on("event", (e) => {
    if (e.type === "task_progress") expectTypeOf(e.progress).toEqualTypeOf<number>();
    if (e.type === "task_completed") expectTypeOf(e.result).toEqualTypeOf<unknown>();
    // @ts-expect-error a deletion has no progress
    if (e.type === "task_deleted") e.progress;
  });
  feed.on("task_completed", (e) => expectTypeOf(e).toEqualTypeOf<TaskCompleted>());
  feed.on("state", (s) => expectTypeOf(s).toEqualTypeOf<StateChange>());
  feed.on("gap", (g) => expectTypeOf(g).toEqualTypeOf<Gap>());
  expectTypeOf(feed.events()).toEqualTypeOf<AsyncGenerator<FeedEvent, void, void>>();
});

test("an app's own events are declared, or unknown", () => {
  const feed = new TaskFeed<{ invoice_sent: { invoice: { no: number } } }>(options);
  feed.on("invoice_sent", (e) => {
    expectTypeOf(e.invoice.no).toEqualTypeOf<number>();
    expectTypeOf(e.id).toEqualTypeOf<number>();
  });
  feed.on("event", (e) => {
    if (e.type === "invoice_sent") expectTypeOf(e.invoice.no).toEqualTypeOf<number>();
  });
  feed.on("news", (e) => {
    expectTypeOf(e.id).toEqualTypeOf<number>();
    expectTypeOf(e.text).toEqualTypeOf<unknown>();
  });
});

test("options are checked", () => {
  const make = (): unknown => [
    // @ts-expect-error userId is missing
    new TaskFeed({ getToken: () => "t" }),
    // @ts-expect-error there is no such transport
    new TaskFeed({ ...options, transports: ["carrier pigeon"] }),
  ];
  expectTypeOf(make).toBeFunction();
});
