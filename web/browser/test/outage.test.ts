import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { accessible, figure, live, newContext, open, visit } from "../support/page.js";
import { Server, token } from "../support/server.js";
import { waitFor } from "../support/wait.js";

// Whatever goes down and comes back, the page has every event once in the end.

let server: Server;
beforeAll(async () => { server = await Server.start(); });
afterAll(() => server.remove());

let context: BrowserContext;
let page: Page;
beforeEach(async () => {
  context = await newContext();
  page = await context.newPage();
});
afterEach(() => context.close());

let notes = 0;

/** Writes events as an app does; while the database is down it retries. */
async function write(n: number): Promise<void> {
  for (let i = 0; i < n; i++) {
    notes++;
    await waitFor("the database takes a write", () =>
      server.sql(`SELECT taskfeed.notify('alice', 'note', '{"n": ${notes}}')`).then(() => true, () => false));
  }
}

/** The ids in the log after a cursor. */
async function logged(after: number): Promise<number[]> {
  const found = await server.sql(`SELECT id FROM taskfeed.events WHERE id > ${after} ORDER BY id`);
  return found.map((row) => Number(row["id"]));
}

/** The ids that the tail shows, oldest first. */
const shown = async (): Promise<number[]> =>
  (await page.locator(".tail > li").evaluateAll((list) => list.map((li) => Number(li.getAttribute("data-event"))))).reverse();

const cursor = async (): Promise<number> => Number((await server.sql("SELECT coalesce(max(id), 0) AS id FROM taskfeed.events"))[0]!["id"]);

/** Opens the tail, causes the outage while an app writes, and compares. */
async function through(trouble: () => Promise<void>, before: () => Promise<void> = async () => {}): Promise<void> {
  await open(page, server.base, "live");
  await before();
  const start = await cursor();
  await write(3);
  await page.locator(".tail > li").nth(2).waitFor();
  await trouble();
  await write(3);
  await live(page);
  await waitFor("changes are in the log", async () => (await server.sql("SELECT count(*)::int AS n FROM taskfeed.changes"))[0]!["n"] === 0);
  const want = await logged(start);
  await waitFor("the tail shows the last event", async () => (await shown()).at(-1) === want.at(-1));
  expect(await shown(), "events shown").toEqual(want);
  expect(await figure(page, "resets")).toBe("0");
}

const banner = () => page.locator(".banner[data-kind]");

describe("nothing is lost and nothing is duplicated", () => {
  it("when the server is restarted", () => through(async () => {
    await server.down();
    await page.locator(".banner[data-kind=away]").waitFor();
    await accessible(page, "the banner while the server is away");
    await write(5); // while the server is down
    await server.up();
    await banner().waitFor({ state: "detached" });
  }));

  it("when the server is killed", () => through(async () => {
    await server.down("SIGKILL");
    await write(2);
    await server.up();
  }));

  it("when Postgres is restarted", () => through(async () => {
    await server.postgres.down();
    await waitFor("the page says so", async () => {
      await visit(page, "Tasks"); // sends a request that needs the database
      await visit(page, "Live");
      return (await banner().count()) > 0;
    });
    await server.postgres.up();
    await write(2);
    await banner().waitFor({ state: "detached" });
  }));

  it("when the computer was offline", () => through(async () => {
    await context.setOffline(true);
    await page.getByText("This computer is offline").waitFor();
    await write(4);
    await context.setOffline(false);
    await banner().waitFor({ state: "detached" });
  }));

  it("when another tab that had the connection is closed", async () => {
    const leader = await context.newPage();
    await open(leader, server.base, "live");
    await through(async () => {
      const { total_connections } = await (await fetch(server.base + "/health/websockets")).json() as { total_connections: number };
      expect(total_connections, "connections of two tabs").toBe(1);
      await leader.close();
      await write(3);
    });
  });
});

describe("the list of tasks", () => {
  const state = async (): Promise<string[]> =>
    (await server.sql("SELECT id, status, progress FROM taskfeed.tasks ORDER BY id")).map((r) => `${r["id"]} ${r["status"]} ${r["progress"]} %`);
  const seen = (): Promise<string[]> => page.locator("tr[data-task]").evaluateAll((list) => list
    .filter((tr) => tr.getAttribute("data-status") !== "deleted")
    .map((tr) => `${tr.getAttribute("data-task")} ${tr.querySelector(".status")!.textContent} ${tr.querySelector(".percent")!.textContent}`).sort());
  const same = (what: string): Promise<void> => waitFor(what, async () => JSON.stringify(await seen()) === JSON.stringify(await state()));

  /** Changes random tasks quickly until the returned function is called. */
  function workload(): () => Promise<void> {
    let on = true;
    const done = (async () => {
      while (on) {
        await server.sql(`
          UPDATE taskfeed.tasks SET status = (array['queued', 'running', 'running', 'completed'])[1 + floor(random() * 4)],
            progress = floor(random() * 101) WHERE id = 'w' || floor(1 + random() * 9)`).catch(() => {});
      }
    })();
    return () => {
      on = false;
      return done;
    };
  }

  beforeAll(() => server.sql("INSERT INTO taskfeed.tasks (id, user_id) SELECT 'w' || n, 'alice' FROM generate_series(1, 9) AS n").then());

  it("matches the database after reloads during changes", async () => {
    await open(page, server.base, "tasks?sort=created", token("alice"));
    const stop = workload();
    for (let i = 0; i < 3; i++) {
      await page.reload();
      await page.locator("tr[data-task]").nth(8).waitFor();
    }
    await live(page);
    await stop();
    await same("the page shows what the database holds");
  });

  it("matches the database after a restart during changes", async () => {
    await open(page, server.base, "tasks?sort=created");
    const stop = workload();
    await server.down();
    await server.up();
    await live(page);
    await stop();
    await same("the page shows what the database holds");
  });

  it("does not change while paused, whatever happens, and then catches up", async () => {
    await open(page, server.base, "tasks?sort=created");
    await page.locator("tr[data-task]").nth(8).waitFor();
    await page.getByRole("button", { name: "Pause" }).click();
    const before = await seen();
    const bump = "UPDATE taskfeed.tasks SET progress = (progress + 1) % 101, status = 'running'";
    await server.sql(bump);
    await page.getByText("9 events held back").waitFor();
    await server.down();
    await page.locator(".banner[data-kind=away]").waitFor();
    await server.sql(bump);
    await server.up();
    await live(page);
    await page.getByText("18 events held back").waitFor(); // the list is not loaded again when the server is back
    await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    expect(await seen(), "rows while paused").toEqual(before);
    await page.getByRole("button", { name: "Resume" }).click();
    await same("the page shows what the database holds");
    expect(await page.getByText("held back").count()).toBe(0);
  });
});
