import { expect, test, vi } from "vitest";
import { TaskFeed, TokenRejected, type FeedOptions } from "../src/index.js";
import { jwt } from "./support/fake.js";

type Answer = { status: number; body?: object; after?: string } | Error;

/** A feed that never connects, whose POSTs get these answers; the last one is repeated. */
function sender(answers: Answer[], options?: Partial<FeedOptions>): { feed: TaskFeed; sent: any[] } {
  const sent: any[] = [];
  const fetcher = async (url: unknown, init: RequestInit): Promise<Response> => {
    sent.push({ url, ...init, body: JSON.parse(init.body as string) });
    init.signal?.throwIfAborted();
    const answer = answers.length > 1 ? answers.shift()! : answers[0]!;
    if (answer instanceof Error) throw answer;
    const headers: Record<string, string> = { "Content-Type": answer.status === 200 ? "application/json" : "application/problem+json" };
    if (answer.after) headers["Retry-After"] = answer.after;
    return new Response(JSON.stringify(answer.body ?? {}), { status: answer.status, headers });
  };
  const feed = new TaskFeed({
    url: "https://feed.test/x", userId: "alice", getToken: () => jwt("a", 3600),
    fetch: fetcher as typeof fetch, backoff: { min: 1, max: 1, random: () => 1 }, ...options,
  });
  return { feed, sent };
}

const stored = { status: 200, body: { ref: "r", id: 18 } };

test("a message is sent again, with the same ref, until it is answered", async () => {
  const { feed, sent } = sender([new TypeError("failed to fetch"), { status: 503 }, { status: 429 }, { status: 502 }, stored]);
  await expect(feed.send("cancel", { taskId: "t1", data: { why: "slow" } })).resolves.toBe(18);
  expect(sent.length).toBe(5);
  expect(new Set(sent.map((r) => r.body.ref)).size).toBe(1);
  const { url, method, headers, body } = sent[0];
  expect([url, method, headers["Content-Type"]]).toEqual(["https://feed.test/x/v1/me/messages", "POST", "application/json"]);
  expect(body).toEqual({ ref: expect.stringMatching(/^[0-9-]{7,64}$/), topic: "cancel", task_id: "t1", data: { why: "slow" } });
  expect(headers.Authorization).toMatch(/^Bearer ./);
});

test("two messages have two refs", async () => {
  const { feed, sent } = sender([stored]);
  await Promise.all([feed.send("cancel"), feed.send("cancel")]);
  expect(sent[0].body.ref).not.toBe(sent[1].body.ref);
});

test.each([[400, "bad_request"], [403, "topic_not_allowed"], [404, "not_found"], [409, "inbox_full"], [413, "too_large"]])(
  "a refusal with %d ends it", async (status, code) => {
    const { feed, sent } = sender([{ status, body: { code, detail: "no" } }]);
    await expect(feed.send("cancel")).rejects.toMatchObject({ reason: code, status, message: expect.stringContaining("no") });
    expect(sent.length).toBe(1);
  });

test("a refused token is replaced once", async () => {
  const reasons: string[] = [];
  const getToken: FeedOptions["getToken"] = ({ reason }) => { reasons.push(reason); return jwt("a", 3600); };
  const { feed, sent } = sender([{ status: 401 }, stored], { getToken });
  await expect(feed.send("cancel")).resolves.toBe(18);
  expect([reasons, sent.length]).toEqual([["initial", "rejected"], 2]);
  const refused = sender([{ status: 401 }]);
  await expect(refused.feed.send("cancel")).rejects.toBeInstanceOf(TokenRejected);
  expect(refused.sent.length).toBe(2);
});

test("it obeys Retry-After, and stops when it is told to", async () => {
  vi.useFakeTimers();
  try {
    const { feed, sent } = sender([{ status: 429, after: "7" }, stored]);
    const done = feed.send("cancel");
    await vi.advanceTimersByTimeAsync(6_900);
    expect(sent.length).toBe(1);
    await vi.advanceTimersByTimeAsync(200);
    await expect(done).resolves.toBe(18);

    const abort = new AbortController();
    const stopped = sender([{ status: 503 }]);
    const end = expect(stopped.feed.send("cancel", { signal: abort.signal })).rejects.toBe("enough");
    await vi.advanceTimersByTimeAsync(10);
    abort.abort("enough");
    await vi.advanceTimersByTimeAsync(10);
    await end;
    const { length } = stopped.sent;
    await vi.advanceTimersByTimeAsync(1_000);
    expect(stopped.sent.length).toBe(length);
  } finally {
    vi.useRealTimers();
  }
});
