import { describe, expect, test } from "vitest";
import { readFrame } from "../src/frame.js";
import { isFrame, json } from "./support/schema.js";

// frames.schema.json says what a frame is to readers in other languages. It and
// the client must agree.

const texts: string[] = json("../../../../client/testdata/vectors.json")
  .flatMap(({ sessions }: any) => sessions)
  .flatMap(({ frames }: any) => frames ?? [])
  .map((f: unknown) => (typeof f === "string" ? f : JSON.stringify(f)));

/** What the client does with a text: hands it on, passes it over, or ends. */
function fate(text: string): "frame" | "over" | "end" {
  try {
    return readFrame(text) ? "frame" : "over";
  } catch {
    return "end";
  }
}

function valid(text: string): boolean {
  try {
    return isFrame(JSON.parse(text));
  } catch {
    return false;
  }
}

describe("the schema of frames", () => {
  test("what the client hands on is valid, and nothing else is", () => {
    expect(texts.length).toBeGreaterThan(100);
    for (const text of texts) expect([text, valid(text)]).toEqual([text, fate(text) === "frame"]);
    expect(new Set(texts.map(fate))).toEqual(new Set(["frame", "over", "end"]));
  });

  test.each([
    ["an id of 0", { id: 0, type: "a", timestamp: "2026-11-22T10:00:00Z" }],
    ["an id with a fraction", { id: 1.5, type: "a", timestamp: "2026-11-22T10:00:00Z" }],
    ["an id of null", { id: null, type: "a", timestamp: "2026-11-22T10:00:00Z" }],
    ["an empty type", { id: 1, type: "", timestamp: "2026-11-22T10:00:00Z" }],
    ["a type that is no text", { id: 1, type: 7, timestamp: "2026-11-22T10:00:00Z" }],
    ["a time that is none", { id: 1, type: "a", timestamp: "yesterday" }],
    ["a feed_live without a cursor", { type: "feed_live" }],
    ["a feed_reset with a cursor of 1.5", { type: "feed_reset", reason: "ahead", cursor: 1.5 }],
  ])("%s is refused by both", (_, frame) => {
    const text = JSON.stringify(frame);
    expect([valid(text), fate(text)]).toEqual([false, "end"]);
  });

  test("an id that JavaScript cannot hold is named", () => {
    const frame = (id: string): string => `{"id":${id},"type":"a","timestamp":"2026-11-22T10:00:00Z"}`;
    expect(() => readFrame(frame("9007199254740993"))).toThrow(/9007199254740991/);
    expect(readFrame(frame("9007199254740991"))).toMatchObject({ id: Number.MAX_SAFE_INTEGER });
  });

  test("white space around pong and frames is allowed", () => {
    expect(fate(" pong\n")).toBe("over");
    expect(fate(` {"type":"feed_live","cursor":1} `)).toBe("frame");
  });
});
