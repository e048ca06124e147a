import { afterEach, beforeAll, describe, expect, test, vi } from "vitest";

// How the console shows answers of the server, and of an intermediary in its place.

let api: typeof import("../src/api.js");
let health: typeof import("../src/health.js");
let session: typeof import("../src/session.js");

beforeAll(async () => {
  vi.stubGlobal("document", { baseURI: "http://taskfeed.test/feed/console/", addEventListener() {}, documentElement: { dataset: {} } });
  vi.stubGlobal("location", new URL("http://taskfeed.test/feed/console/"));
  vi.stubGlobal("window", globalThis);
  api = await import("../src/api.js");
  session = await import("../src/session.js");
  health = await import("../src/health.js");
});

afterEach(() => {
  session.session.value = null;
  vi.useRealTimers();
});

const asked: string[] = [];

/** Answers every request with this. */
function answer(body: BodyInit | null, init: ResponseInit & { type?: string } = {}): void {
  asked.length = 0;
  vi.stubGlobal("fetch", async (url: URL) => {
    asked.push(url.pathname);
    return new Response(body, { headers: init.type ? { "Content-Type": init.type } : {}, status: init.status });
  });
}

const html = "<html><head><title>502 Bad Gateway</title></head><body><center>nginx</center></body></html>";
const problem = "application/problem+json";

const refusals: [what: string, type: string, body: string | null, message: string, document: object][] = [
  ["a problem document", problem, `{"title":"Away","detail":"try later","code":"unavailable","request_id":"R"}`, "try later", { title: "Away", detail: "try later", code: "unavailable", request_id: "R", errors: [] }],
  ["one that names parameters", problem + "; charset=utf-8", `{"errors":[{"field":"limit","detail":"must be less"},null,7,{"field":{}},{"detail":"x"}]}`, "the server answered 503", { errors: [{ field: "limit", detail: "must be less" }, { detail: "x" }] }],
  ["one without detail", problem, `{"title":"Away"}`, "the server answered 503", { title: "Away", errors: [] }],
  ["members of other types", problem, `{"title":[],"detail":{"a":1},"code":7,"request_id":null,"errors":"x"}`, "the server answered 503", { errors: [] }],
  ["blank members", problem, `{"title":"","detail":" \\n"}`, "the server answered 503", { errors: [] }],
  ["a page for a detail", problem, JSON.stringify({ detail: html, title: "\n" + html }), "the server answered 503", { errors: [] }],
  ...["null", "true", "7", `"text"`, "[]", "", "{", "undefined", html].map((body): [string, string, string, string, object] =>
    [`${body || "nothing"} as a problem document`, problem, body, "the server answered 503", {}]),
  ["a proxy's page", "text/html", html, "the server answered 503", {}],
  ["JSON of another kind", "application/json", `{"detail":"x"}`, "the server answered 503", {}],
  ["no body", "", null, "the server answered 503", {}],
];

// A body of null threw, and values other than text reached the screen.
test.each(refusals)("a refusal with %s", async (_, type, body, message, document) => {
  answer(body, { status: 503, type });
  const error = await api.get("v1/me").catch((e) => e);
  expect(error).toBeInstanceOf(api.Problem);
  expect([error.message, error.status, JSON.parse(JSON.stringify(error.document))]).toEqual([message, 503, document]);
});

// The screen said "loading" for ever.
test.each([html, "", "null", "7", "[]", `"text"`, `{"items":`])("an answer with status 200 and the body %s is not from taskfeed", async (body) => {
  answer(body);
  await expect(api.get("v1/me")).rejects.toMatchObject({ kind: "away", message: expect.stringContaining("not from taskfeed") });
});

test("an answer that is cut off fails", async () => {
  answer(new ReadableStream({ start(to) { to.enqueue(Buffer.from("{")); to.error(new Error("reset")); } }));
  await expect(api.get("v1/me")).rejects.toMatchObject({ kind: "away", message: "the server does not answer" });
});

describe("the health of the server", () => {
  const as = (admin: boolean): void => { session.session.value = { token: "t", user: "alice", admin, groups: [], expires: Infinity }; };
  const states: [what: string, body: string | null, init: object, want: object][] = [
    ["is ready", `{"status":"ready"}`, {}, { kind: "ok", failing: [] }],
    ["is not ready", `{"status":"not ready"}`, {}, { kind: "unready", failing: [] }],
    ["names its checks", `{"status":"not ready","checks":[{"name":"feed","ok":false},{"name":"database","ok":true}]}`, {}, { kind: "unready", failing: ["feed"] }],
    ["has too many questions", `{"code":"rate_limited"}`, { status: 429, type: problem }, { kind: "ok", failing: [] }],
    ["is of a version without that URL", `{"code":"not_found"}`, { status: 404, type: problem }, { kind: "ok", failing: [] }],
    ["cannot judge tokens", `{"code":"unavailable"}`, { status: 503, type: problem }, { kind: "unready", failing: [] }],
    ["is a proxy without a server", html, { status: 502, type: "text/html" }, { kind: "away", failing: [] }],
    ["is a proxy without a server that answers nothing", null, { status: 503 }, { kind: "away", failing: [] }],
    ["is a network's login page", html, { type: "text/html" }, { kind: "away", failing: [] }],
  ];
  test.each(states)("that %s", async (_, body, init, want) => {
    vi.useFakeTimers();
    as(true);
    answer(body, init);
    await health.probe();
    expect(health.health.value).toMatchObject(want);
    expect(asked).toEqual(["/feed/v1/status"]); // never /readyz, which proxies block
    answer(`{"status":"ready"}`);
    await health.probe();
    expect(health.health.value.kind).toBe("ok");
  });

  test("there are no requests before the login", async () => {
    answer(html, { status: 502 });
    await health.probe();
    expect([health.health.value.kind, asked]).toEqual(["ok", []]);
  });
});
