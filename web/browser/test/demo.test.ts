import type { BrowserContext, Locator, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { complaints, newContext } from "../support/page.js";
import { Server, token } from "../support/server.js";

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

const inState = (state: string): Promise<void> => page.locator(`#state[data-state=${state}]`).waitFor();
const counter = (name: string): Promise<string> => page.locator("#count-" + name).innerText();

describe("the demo page", () => {
  it("shows a task from its start to its end", async () => {
    const bad = complaints(page);
    await page.goto(`${server.base}/demo#token=${token("alice")}`);
    await inState("live");
    await server.sql("INSERT INTO taskfeed.tasks (id, user_id, kind) VALUES ('t1', 'alice', 'export')");
    await page.locator("#rows-open .row[data-status=queued]", { hasText: "t1" }).waitFor();
    await server.sql("UPDATE taskfeed.tasks SET status = 'running' WHERE id = 't1'");
    await server.sql("UPDATE taskfeed.tasks SET progress = 42, message = 'half way' WHERE id = 't1'");
    const running = page.locator("#rows-open .row[data-status=running]", { hasText: "half way" });
    await running.getByText("42 %").waitFor();
    await server.sql("UPDATE taskfeed.tasks SET status = 'completed', result = '{\"rows\": 7}' WHERE id = 't1'");
    await page.locator("#rows-done .row[data-status=completed]", { hasText: '{"rows":7}' }).waitFor();
    await server.sql("DELETE FROM taskfeed.tasks WHERE id = 't1'");
    await page.locator(".row").waitFor({ state: "detached" });
    expect(await counter("events")).toBe("5");
    expect(bad).toEqual([]);
  });

  it("shows the same bell on every device", async () => {
    const bell = (on: Page): Locator => on.locator("#bell");
    await page.goto(`${server.base}/demo#token=${token("carol")}`);
    await inState("live");
    await bell(page).getByText("0 unread").waitFor();
    await server.sql("INSERT INTO taskfeed.tasks (id, user_id, status) VALUES ('c1', 'carol', 'completed'), ('c2', 'carol', 'running')");
    await bell(page).getByText("1 unread").waitFor();
    const other = await context.newPage();
    await other.goto(`${server.base}/demo#token=${token("carol")}`);
    await bell(other).getByText("1 unread").waitFor();
    await bell(other).click();
    for (const on of [page, other]) await bell(on).getByText("0 unread").waitFor();
    await page.reload();
    await bell(page).getByText("0 unread").waitFor();
  });

  it("catches up after a cut and after a restart, without duplicates", async () => {
    await page.goto(`${server.base}/demo#token=${token("bob")}`);
    await inState("live");
    await page.getByRole("button", { name: "Cut the connection" }).click();
    await inState("cut");
    await server.sql("INSERT INTO taskfeed.tasks (id, user_id) SELECT 'b' || n, 'bob' FROM generate_series(1, 3) AS n");
    await page.getByRole("button", { name: "Connect now" }).click();
    await page.locator("#count-caught-up", { hasText: "3 events" }).waitFor();
    await inState("live");

    await server.down();
    await inState("waiting");
    await server.up();
    await inState("live");
    await server.sql("INSERT INTO taskfeed.tasks (id, user_id) VALUES ('b4', 'bob')");
    await page.locator(".row", { hasText: "b4" }).waitFor();
    expect(await counter("events")).toBe("4");
    expect(await counter("duplicates")).toBe("0");
    expect(await counter("reconnects")).toBe("2");
  });

  it("asks for another token when the server refuses one", async () => {
    await page.goto(`${server.base}/demo#token=${token("carol", { seconds: -600 })}`);
    await page.locator("#login-why", { hasText: "4001" }).waitFor();
    await page.getByLabel("Token of the user").fill(token("carol"));
    await page.getByRole("button", { name: "Show the tasks" }).click();
    await inState("live");
  });
});
