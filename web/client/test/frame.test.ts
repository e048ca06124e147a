import { describe, expect, test } from "vitest";
import { readFrame } from "../src/frame.js";
import { event, live, reset } from "./support/fake.js";

const at = "2026-11-22T10:00:00Z";

/** What the client does with a text: passes it on, ignores it, or ends with the code. */
function fate(text: unknown): string {
  try {
    return readFrame(typeof text === "string" ? text : JSON.stringify(text)) ? "handed on" : "passed over";
  } catch (error) {
    return (error as { code: string }).code;
  }
}

describe("a frame", () => {
  test.each<[string, unknown]>([
    ["an event of a task", event(1)],
    ["an event of the app's own", { id: 1, type: "invoice_sent", timestamp: at, task: null }],
    ["an event named like a field of every object", { id: 1, type: "constructor", timestamp: at }],
    ["the greatest id", { id: Number.MAX_SAFE_INTEGER, type: "a", timestamp: at }],
    ["the beginning of time", { id: 1, type: "a", timestamp: "1970-01-01T00:00:00Z" }],
    ["a replay's end", live(0)],
    ["a reset", reset("ahead", 0)],
    ["white space around", ` ${JSON.stringify(live(1))}\n`],
  ])("is handed on: %s", (_, frame) => {
    expect(fate(frame)).toBe("handed on");
  });

  test.each<[string, unknown]>([
    ["pong", "pong"],
    ["pong with white space", " pong\n"],
    ["a later version's frame", { type: "feed_later", id: "x", cursor: -1 }],
    ["a message without an id", { type: "news" }],
    ["an empty object", {}],
  ])("is passed over: %s", (_, frame) => {
    expect(fate(frame)).toBe("passed over");
  });

  test.each<[string, unknown]>([
    ["no JSON", "hello"],
    ["nothing", ""],
    ["an array", "[]"],
    ["null", "null"],
    ["a number", "7"],
    ["half an object", '{"id":2,'],
    ["an id of 0", { id: 0, type: "a", timestamp: at }],
    ["an id with a fraction", { id: 1.5, type: "a", timestamp: at }],
    ["an id of null", { id: null, type: "a", timestamp: at }],
    ["an empty type", { id: 1, type: "", timestamp: at }],
    ["a type that is no text", { id: 1, type: 7, timestamp: at }],
    ["no time", { id: 1, type: "a" }],
    ["a time that is none", { id: 1, type: "a", timestamp: "yesterday" }],
    ["feed_live without a cursor", { type: "feed_live" }],
    ["feed_reset with half a cursor", { type: "feed_reset", reason: "ahead", cursor: 1.5 }],
  ])("ends the feed: %s", (_, frame) => {
    expect(fate(frame)).toBe("protocol");
  });

  test("an id that JavaScript cannot hold is named", () => {
    expect(() => readFrame(`{"id":9007199254740993,"type":"a","timestamp":"${at}"}`)).toThrow(/9007199254740991/);
  });

  test.each([[1012, "connection"], [4008, "connection"], [4001, "rejected"], [4011, "disconnected"], [4003, "forbidden"], [4500, "refused"]])("feed_closed %i means %s, as that close code does", (code, want) => {
    expect(fate({ type: "feed_closed", code, reason: "because" })).toBe(want);
  });
});
