import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { serveApp, type App } from "../support/app.js";
import { newContext } from "../support/page.js";
import { prefixProxy } from "../support/proxy.js";
import { Server, token } from "../support/server.js";
import { waitFor } from "../support/wait.js";

// The client that the server itself serves, in pages of another origin.

let server: Server;
let app: App;
beforeAll(async () => {
  app = await serveApp(() => server.base);
  server = await Server.start({ origins: app.origin });
});
afterAll(async () => {
  await server.remove();
  await app.close();
});

let context: BrowserContext;
let page: Page;
beforeEach(async () => {
  context = await newContext();
  page = await context.newPage();
});
afterEach(() => context.close());

let keys = 0;

/** Opens the app in a page, which starts with all kept events. */
async function follow(page: Page, more: Record<string, string> = {}): Promise<void> {
  const query = new URLSearchParams({ key: "cursor " + ++keys, token: token("alice"), ...more });
  await page.goto(`${app.origin}/?${query}`);
  await live(page);
}

const live = (page: Page): Promise<unknown> => page.waitForFunction(() => document.title === "live");
const got = (page: Page): Promise<number[]> => page.evaluate("got");

/** The ids of the events that alice must get, in the order of the log. */
async function logged(): Promise<number[]> {
  await waitFor("changes are in the log", async () => (await server.sql("SELECT count(*)::int AS n FROM taskfeed.changes"))[0]!["n"] === 0);
  const found = await server.sql("SELECT id FROM taskfeed.events WHERE user_id = 'alice' OR user_id IS NULL ORDER BY id");
  return found.map((row) => Number(row["id"]));
}

/** Waits for the last event and compares all: none is lost, none is duplicated. */
async function whole(read: () => Promise<number[]>): Promise<void> {
  const want = await logged();
  await waitFor("the last event has come", async () => (await read()).at(-1) === want.at(-1));
  expect(await read(), "events that the page's handler was called with").toEqual(want);
}

let notes = 0;
const write = (n: number): Promise<unknown> =>
  server.sql(`SELECT taskfeed.notify('alice', 'note', jsonb_build_object('n', ${++notes})) FROM generate_series(1, ${n})`);

/** Writes continuously until the returned function is called. */
function writing(): () => Promise<void> {
  let on = true;
  const done = (async () => {
    while (on) await write(1);
  })();
  return () => {
    on = false;
    return done;
  };
}

describe("a page with the script tag", () => {
  it("shows an UPDATE as it is committed", async () => {
    await follow(page);
    await server.sql("INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t1', 'alice'); UPDATE taskfeed.tasks SET status = 'running', progress = 5 WHERE id = 't1'");
    await server.sql("UPDATE taskfeed.tasks SET progress = 42 WHERE id = 't1'");
    await page.getByText("t1 42 %").waitFor();
    await whole(() => got(page));
  });

  it("gets each event once over reloads during changes", async () => {
    await follow(page);
    const stop = writing();
    for (let i = 0; i < 3; i++) {
      const before = (await got(page)).length;
      await waitFor("more events come", async () => (await got(page)).length > before + 5);
      await page.reload();
    }
    await live(page);
    await stop();
    await whole(() => got(page));
  });

  it("gets each event once over a restart during changes", async () => {
    await follow(page);
    const stop = writing();
    await server.down();
    await server.up();
    await live(page);
    await stop();
    await whole(() => got(page));
  });

  it("gets each event once over cut connections during changes", async () => {
    const proxy = await prefixProxy(server.port, "/feed");
    await follow(page, { url: proxy.base });
    const stop = writing();
    for (let i = 0; i < 3; i++) {
      const before = (await got(page)).length;
      await waitFor("more events come", async () => (await got(page)).length > before + 5);
      proxy.cut();
    }
    await stop();
    await whole(() => got(page));
    await proxy.close();
  });

  it("falls back to server-sent events where WebSocket is blocked", async () => {
    const proxy = await prefixProxy(server.port, "/feed", { sockets: false });
    await follow(page, { url: proxy.base });
    await write(3);
    await whole(() => got(page));
    const { items } = await server.api("/v1/connections?user_id=alice");
    expect(items.map((c: { transport: string }) => c.transport)).toEqual(["sse"]);
    await proxy.close();
  });
});

describe("two tabs that share", () => {
  it("have one connection, and the other tab continues when the leader is closed", async () => {
    const other = await context.newPage();
    await follow(page, { shared: "" });
    await follow(other, { shared: "" });
    await write(5);
    await whole(() => got(page));
    await whole(() => got(other));
    await waitFor("both have one connection", async () => (await server.api("/v1/connections?user_id=alice")).items.length === 1);

    await page.close();
    await write(5);
    await whole(() => got(other));
    const stop = writing();
    const third = await context.newPage();
    await follow(third, { shared: "" });
    await stop();
    await whole(() => got(third));
    await whole(() => got(other));
  });
});

describe("the browser's own EventSource", () => {
  it("resumes over a restart of the server and loses nothing", async () => {
    await page.goto(app.origin);
    await page.evaluate((url) => {
      const ids: number[] = (globalThis as any).ids = [];
      const source = new EventSource(url);
      for (const type of ["note", "task_queued", "task_started", "task_progress"]) {
        source.addEventListener(type, (e) => ids.push(Number((e as MessageEvent).lastEventId)));
      }
      return new Promise((resolve) => { source.onopen = resolve; });
    }, `${server.base}/v1/events/stream?after=0&token=${token("alice")}`);
    const ids = (): Promise<number[]> => page.evaluate("ids");
    await write(3);
    await whole(ids);
    const stop = writing();
    await server.down();
    await server.up();
    await stop();
    await write(3);
    await whole(ids);
  });
});
