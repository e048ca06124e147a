import { afterEach, describe, expect, test } from "vitest";
import { TaskFeed, type FeedOptions } from "../src/index.js";
import { event, FakeNet, live, settled } from "./support/fake.js";

// Messages that quote others: a server, a proxy, the app.

const feeds: TaskFeed[] = [];

afterEach(async () => {
  for (const feed of feeds.splice(0)) await feed.close();
});

/** Connects and returns the message that comes with the first change to a state. */
function messageAt(state: string, options: Partial<FeedOptions>): Promise<string> {
  const feed = new TaskFeed(new FakeNet().options(options));
  feeds.push(feed);
  feed.connect();
  return new Promise((resolve) => feed.on("state", (change) => { if (change.state === state) resolve(change.error!.message); }));
}

const html = "<html><head><title>502 Bad Gateway</title></head><body><center>nginx</center></body></html>";

const answers: [what: string, type: string, body: string | null, want: string][] = [
  ["a problem document", "application/problem+json", `{"title":"Away","detail":"try later"}`, ": try later"],
  ["one with a charset, in capitals", "Application/Problem+JSON; charset=utf-8", `{"detail":"try later"}`, ": try later"],
  ["one without detail", "application/problem+json", `{"title":"Away","status":503}`, ": Away"],
  ["one without detail and title", "application/problem+json", `{"status":503}`, ""],
  ["an empty object", "application/problem+json", "{}", ""],
  ["null for a detail", "application/problem+json", `{"detail":null,"title":null}`, ""],
  ["an object for a detail", "application/problem+json", `{"detail":{"a":1},"title":["b"]}`, ""],
  ["an object for a detail, and a title", "application/problem+json", `{"detail":{"a":1},"title":"Away"}`, ": Away"],
  ["a number for a detail", "application/problem+json", `{"detail":7}`, ""],
  ["a blank detail", "application/problem+json", `{"detail":" \\n","title":""}`, ""],
  ["a page for a detail", "application/problem+json", JSON.stringify({ detail: html, title: "Bad Gateway" }), ": Bad Gateway"],
  ["a detail in another script", "application/problem+json", `{"detail":"しばらく"}`, ": しばらく"],
  ...["null", "true", "7", `"text"`, "[]", `[{"detail":"x"}]`, "", "{", "undefined", html].map((body): [string, string, string, string] =>
    [`${body || "nothing"} as a problem document`, "application/problem+json", body, ""]),
  ["a proxy's page", "text/html", html, ""],
  ["JSON that is no problem document", "application/json", `{"message":"Internal server error"}`, ""],
  ["plain text", "text/plain", "upstream connect error", ""],
  ["no body", "", null, ""],
];

describe.each([503, 502, 404])("an answer with status %i", (status) => {
  // "the server answered 503: undefined"
  test.each(answers)("and %s", async (_, type, body, want) => {
    const fetch: FeedOptions["fetch"] = async () => new Response(body, { status, headers: type ? { "Content-Type": type } : {} });
    const message = await messageAt(status === 404 ? "closed" : "waiting", { transports: ["sse"], fetch });
    expect(message).toBe(`the server answered ${status}${want}`);
  });
});

const ends: [frame: object, want: string][] = [
  [{ code: 1012, reason: "a restart" }, "1012: a restart"],
  [{ code: 1012 }, "1012"],
  [{ code: 1012, reason: null }, "1012"],
  [{ code: 1012, reason: {} }, "1012"],
  [{ code: 1012, reason: html }, "1012"],
  [{ reason: "a restart" }, "1006: a restart"],
  [{ code: null }, "1006"],
  [{ code: {} }, "1006"],
];

test.each(ends)("the end of a stream %j", async (frame, want) => {
  const body = `data: ${JSON.stringify({ type: "feed_closed", ...frame })}\n\n`;
  const fetch: FeedOptions["fetch"] = async () => new Response(body, { headers: { "Content-Type": "Text/Event-Stream" } });
  expect(await messageAt("waiting", { transports: ["sse"], fetch })).toBe("the server closed the connection with " + want);
});

const thrown: [what: unknown, want: string][] = [
  [new Error("no room"), "handler failed: Error: no room"], [new TypeError("x is undefined"), "handler failed: TypeError: x is undefined"],
  ["no room", "handler failed: no room"], [undefined, "handler failed"], [null, "handler failed"], [{ a: 1 }, "handler failed"], ["", "handler failed"],
];

test.each(thrown)("a handler that throws %s", async (what, want) => {
  const net = new FakeNet();
  const feed = new TaskFeed(net.options());
  feeds.push(feed);
  feed.on("event", () => { throw what; });
  const message = new Promise((resolve) => feed.on("state", ({ state, error }) => { if (state === "closed") resolve(error!.message); }));
  feed.connect();
  await settled();
  net.last.open().say(event(1), live(1));
  expect(await message).toBe(want);
});
