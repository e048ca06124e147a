import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { newContext } from "../support/page.js";
import { Server, token } from "../support/server.js";
import { waitFor } from "../support/wait.js";

// A browser's own EventSource, without a client library.

let server: Server;
beforeAll(async () => { server = await Server.start(); });
afterAll(() => server.remove());

let context: BrowserContext;
let page: Page;
beforeEach(async () => {
  context = await newContext();
  page = await context.newPage();
  await page.goto(server.base + "/healthz"); // a page of this origin without a content policy
});
afterEach(() => context.close());

/** Opens the stream in the page and records what it receives. */
async function listen(params: Record<string, string>): Promise<void> {
  await page.evaluate((query) => {
    const seen = { ids: [] as number[], live: 0, resets: 0, closed: [] as number[], state: () => source.readyState };
    const source = new EventSource("/v1/events/stream?" + query);
    source.addEventListener("note", (e) => { seen.ids.push(Number(e.lastEventId)); });
    source.addEventListener("feed_live", () => { seen.live++; });
    source.addEventListener("feed_reset", () => { seen.resets++; });
    source.addEventListener("feed_closed", (e) => { seen.closed.push(JSON.parse(e.data).code); });
    (globalThis as any).seen = seen;
  }, new URLSearchParams(params).toString());
}

interface Seen { ids: number[]; live: number; resets: number; closed: number[]; state: number }
const seen = (): Promise<Seen> => page.evaluate(() => {
  const { seen } = globalThis as any;
  return { ...seen, state: seen.state() };
});

const write = (n: number): Promise<unknown> =>
  server.sql(`SELECT taskfeed.notify('alice', 'note', jsonb_build_object('n', n)) FROM generate_series(1, ${n}) AS n`);

/** The ids of alice's events in the log. */
const logged = async (): Promise<number[]> =>
  (await server.sql("SELECT id FROM taskfeed.events WHERE user_id = 'alice' AND type = 'note' ORDER BY id")).map((row) => Number(row["id"]));

/** Waits until every change is in the log and the page has the last event. */
async function whole(): Promise<Seen> {
  await waitFor("every change is in the log", async () => (await server.sql("SELECT count(*)::int AS n FROM taskfeed.changes"))[0]!["n"] === 0);
  const want = await logged();
  await waitFor("the page has seen the last event", async () => (await seen()).ids.at(-1) === want.at(-1));
  const got = await seen();
  expect(got.ids, "events that the page has seen").toEqual(want);
  expect(got.resets).toBe(0);
  return got;
}

describe("an EventSource", () => {
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    it(`loses nothing and gets no duplicates over a restart after ${signal}`, async () => {
      await write(3);
      await listen({ after: "0", token: token("alice") });
      await whole();
      await server.down(signal);
      await write(5); // while the server is down
      await server.up();
      await write(2);
      const got = await whole();
      expect(got.live, "times that it went live").toBe(2);
      if (signal === "SIGTERM") expect(got.closed).toContain(1012);
    }, 60_000);
  }

  it("waits for a day when an administrator closes it", async () => {
    await listen({ token: token("alice") });
    await waitFor("the stream is live", async () => (await seen()).live === 1);
    await fetch(server.base + "/v1/users/alice/connections", {
      method: "DELETE", headers: { Authorization: "Bearer " + token("admin", { role: "admin" }) },
    });
    await waitFor("the page gets feed_closed", async () => (await seen()).closed.includes(4011));
    expect((await seen()).state, "not connected").not.toBe(1);
  });

  it("gives up when its token is refused", async () => {
    await listen({ token: "forged" });
    await waitFor("it is closed", async () => (await seen()).state === 2);
  });
});
