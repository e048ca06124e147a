import type { BrowserContext, Locator, Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { seed } from "../support/data.js";
import { complaints, figure, live, newContext, open } from "../support/page.js";
import { prefixProxy } from "../support/proxy.js";
import { Server, token } from "../support/server.js";
import { waitFor } from "../support/wait.js";

let server: Server;
let context: BrowserContext;
let page: Page;
let wrong: string[];

beforeAll(async () => {
  server = await Server.start();
  await seed(server);
  context = await newContext({ permissions: ["clipboard-read", "clipboard-write"] });
  page = await context.newPage();
  wrong = complaints(page, /status of 404/);
  await open(page, server.base);
});
afterAll(async () => {
  await context.close();
  await server.remove();
});
beforeEach(() => { wrong.length = 0; });

const row = (id: string, where = page) => where.locator(`tr[data-task="${id}"]`);
const ids = (): Promise<(string | null)[]> => page.locator("tr[data-task]").evaluateAll((list) => list.map((tr) => tr.getAttribute("data-task")));
const goto = async (path: string): Promise<void> => {
  await page.goto(`${server.base}/console/${path}`);
  await live(page);
};

describe("the list of tasks", () => {
  it("shows an UPDATE as it is committed", async () => {
    await goto("tasks");
    await row("import-crm").getByText("18 %").waitFor();
    await server.sql("UPDATE taskfeed.tasks SET progress = 55, message = 'matching names' WHERE id = 'import-crm'");
    await row("import-crm").getByText("55 %").waitFor();
    expect(await row("import-crm").innerText()).toContain("matching names");
    await server.sql("UPDATE taskfeed.tasks SET status = 'completed', progress = 100 WHERE id = 'import-crm'");
    await row("import-crm").getByText("completed").waitFor();
  });

  it("says that there are new tasks, and shows them when asked", async () => {
    await goto("tasks");
    await row("import-crm").waitFor();
    await server.sql("INSERT INTO taskfeed.tasks (id, user_id, kind) SELECT 'new-' || n, 'carol', 'batch' FROM generate_series(1, 12) AS n");
    const badge = page.getByRole("button", { name: "12 new tasks" });
    await badge.waitFor();
    expect(await row("new-1").count(), "the list does not jump by itself").toBe(0);
    await badge.click();
    await row("new-12").waitFor();
    expect(await badge.count()).toBe(0);
  });

  it("is filtered by the URL, and the form changes the URL", async () => {
    await goto("tasks?status=failed,queued&user=bob");
    await row("export-invoices").waitFor();
    expect((await ids()).sort()).toEqual(["export-invoices", "summary-q3"]);
    expect(await page.getByLabel("failed").isChecked()).toBe(true);
    expect(await page.getByLabel("User").inputValue()).toBe("bob");

    expect(await page.locator("datalist option[value=export]").count(), "suggestions").toBe(1);

    await page.getByLabel("queued").uncheck();
    await page.waitForURL(/status=failed&user=bob/);
    await row("summary-q3").waitFor({ state: "detached" });
    await page.getByLabel("Search").fill("DISK");
    await page.waitForURL(/text=DISK/);
    await row("export-invoices").waitFor();
    await page.getByLabel("Search").fill("tape");
    await page.getByText("No task matches").waitFor();
    await page.reload();
    await page.getByText("No task matches").waitFor();
    expect(await page.getByLabel("Search").inputValue()).toBe("tape");
    await page.goBack(); // the history has an entry for each choice, not for each letter
    await row("summary-q3").waitFor();
    expect(new URL(page.url()).search).toBe("?status=failed,queued&user=bob");
    await goto("tasks?kind=none");
    await page.locator(".empty").getByRole("button", { name: "Clear the filter" }).click();
    await row("summary-q3").waitFor();
    expect(new URL(page.url()).search).toBe("");
  });

  it("has pages", async () => {
    await server.sql("INSERT INTO taskfeed.tasks (id, user_id, kind) SELECT 'page-' || to_char(n, 'FM000'), 'dave', 'paged' FROM generate_series(1, 120) AS n");
    await goto("tasks?user=dave");
    await page.locator("tr[data-task]").nth(49).waitFor();
    const seen = await ids();
    for (let more = 2; more > 0; more--) {
      const first = (await ids())[0]!;
      await page.getByRole("button", { name: "Next page" }).click();
      await row(first).waitFor({ state: "detached" });
      await page.locator("tr[data-task]").first().waitFor();
      seen.push(...await ids());
    }
    expect(new Set(seen).size, "tasks over all pages").toBe(120);
    expect(seen.length, "tasks shown").toBe(120);
    expect(await page.getByRole("button", { name: "Next page" }).isDisabled()).toBe(true);
  });

  it("is saved as CSV", async () => {
    await goto("tasks?user=dave");
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "CSV" }).click()]);
    const chunks: Buffer[] = [];
    for await (const chunk of await download.createReadStream()) chunks.push(chunk as Buffer);
    expect(Buffer.concat(chunks).toString().trim().split("\n")).toHaveLength(121);
  });
});

describe("a task", () => {
  it("shows its past events and new ones", async () => {
    await goto("tasks/render-intro");
    const events = page.locator(".events > li");
    await events.first().waitFor();
    const before = await events.count();
    await server.sql("UPDATE taskfeed.tasks SET progress = 90, message = 'encoding' WHERE id = 'render-intro'");
    await events.nth(before).waitFor();
    expect(await events.nth(before).innerText()).toMatch(/task_progress[^]*34 → 90 %/);
    expect(await page.locator(".timeline-point").count()).toBe(before + 1);
    await server.sql("UPDATE taskfeed.tasks SET status = 'failed', error = 'out of memory' WHERE id = 'render-intro'");
    await page.locator(".heading").getByText("failed").waitFor();
    await page.getByText("out of memory").first().waitFor();
    await page.reload();
    await events.nth(before + 1).waitFor();
    expect(await events.count(), "events after a reload").toBe(before + 2);
  });

  it("is copied as SQL that finds it, as curl, and its events as JSON", async () => {
    await goto("tasks/export-orders");
    const copied = async (button: string, within: Page | Locator = page): Promise<string> => {
      await page.evaluate(() => navigator.clipboard.writeText(""));
      await within.getByRole("button", { name: button }).click();
      await page.getByText("Copied").first().waitFor();
      let words = "";
      await waitFor("the words are in the clipboard", async () => {
        words = await page.evaluate(() => navigator.clipboard.readText());
        return words !== "";
      });
      return words;
    };
    const found = await server.sql(await copied("Copy as SQL"));
    expect(found.map((e) => e["type"])).toEqual(["task_queued", "task_started", ...Array(6).fill("task_progress"), "task_completed"]);
    expect(await copied("Copy as curl")).toContain(`'${server.base}/v1/tasks/export-orders'`);
    const first = page.locator(".events > li").first();
    await first.locator("details > summary").first().click();
    const event = JSON.parse(await copied("Copy JSON", first));
    expect(event).toMatchObject({ type: "task_queued", task_id: "export-orders", version: 1 });
  });

  it("with an unusual id has its own screen", async () => {
    const strange = "a/b?c#d %2F 'e' <i>ü</i> ..";
    await server.sql(`INSERT INTO taskfeed.tasks (id, user_id) VALUES ('${strange.replaceAll("'", "''")}', 'eve')`);
    await goto("tasks?user=eve");
    await page.getByRole("link", { name: strange }).click();
    await page.getByRole("heading", { level: 1, name: strange }).waitFor();
    await page.locator(".timeline svg").waitFor();
    await page.reload();
    await page.locator(".timeline svg").waitFor();
    expect(await page.locator("h1 i").count(), "markup made of a user's text").toBe(0);
  });

  it("says when its user was connected, and whether they have all its events", async () => {
    await server.sql("INSERT INTO taskfeed.tasks (id, user_id, status) VALUES ('watched', 'mallory', 'running')");
    await goto("tasks/watched");
    await page.getByText("Not since this task began").waitFor();
    const other = await context.newPage();
    await open(other, server.base, "tasks", token("mallory"));
    const stay = page.locator(".stays li");
    await stay.getByText("has every event of this task").waitFor();
    expect(await stay.innerText()).toMatch(/^websocket, since/);
    await page.locator(".timeline-stay").waitFor(); // drawn once the clock of the timeline has passed its start
    expect(await page.locator(".timeline-stay").count()).toBe(1);
    await other.close();
    await stay.getByText("until").waitFor();
    await page.reload();
    await stay.getByText("until").waitFor();
    expect(await stay.count(), "a connection that ended stays known").toBe(1);
  });

  it("that was deleted still has its events", async () => {
    await server.sql("INSERT INTO taskfeed.tasks (id, user_id) VALUES ('gone', 'eve'); DELETE FROM taskfeed.tasks WHERE id = 'gone'");
    await goto("tasks/gone");
    await page.locator(".events").getByText("task_deleted").waitFor();
    expect(await page.locator(".heading .status").innerText()).toBe("deleted");
  });
});

describe("the live tail", () => {
  it("is filtered by type, user and text, also in the URL", async () => {
    await goto("live");
    await page.getByLabel("task_failed").check();
    await page.getByLabel("User").fill("frank");
    await page.waitForURL(/type=task_failed&user=frank/);
    await server.sql(`
      INSERT INTO taskfeed.tasks (id, user_id) VALUES ('f1', 'frank'), ('g1', 'grace');
      UPDATE taskfeed.tasks SET status = 'failed', error = 'x' WHERE id IN ('f1', 'g1')`);
    await page.locator(".tail > li").waitFor();
    expect(await page.locator(".tail > li").allInnerTexts()).toHaveLength(1);
    expect(await page.locator(".tail > li").innerText()).toMatch(/task_failed[^]*f1[^]*frank/);
  });

  it("counts events while paused, and shows them afterwards", async () => {
    await goto("live?type=held_note");
    await page.keyboard.press("Space");
    await page.getByRole("button", { name: "Resume" }).waitFor();
    await server.sql("SELECT taskfeed.notify('alice', 'held_note', jsonb_build_object('n', n)) FROM generate_series(1, 30) AS n");
    await page.getByText("30 events held back").waitFor();
    expect(await page.locator(".tail > li").count()).toBe(0);
    await page.keyboard.press("Space");
    await page.locator(".tail > li").nth(29).waitFor();
    expect(await page.locator(".tail > li").count()).toBe(30);
  });
});

describe("the overview", () => {
  it("counts tasks as the database does, and shows rates and latencies", async () => {
    await goto("");
    const counts = await server.sql("SELECT status, count(*)::int AS n FROM taskfeed.tasks GROUP BY status");
    for (const { status, n } of counts) {
      await waitFor(`${n} ${status} tasks`, async () => (await page.locator(`[data-count=${status}]`).innerText()) === String(n));
    }
    await page.getByText("sequences").waitFor();
    const latency = page.locator("figure", { hasText: "Commit to socket" });
    await waitFor("latency is measured", async () => {
      await server.sql("SELECT taskfeed.broadcast('tick', '{}')");
      return / ms/.test(await latency.locator(".legend").innerText());
    });
    await latency.getByRole("button", { name: "As a table" }).click();
    await latency.getByRole("columnheader", { name: "p99" }).waitFor();
    await page.locator("[data-status=failed]").first().click();
    await page.waitForURL(/tasks\?status=failed/);
  });
});

describe("sources", () => {
  it("shows attached tables, their tasks, and what is wrong with them", async () => {
    await server.sql(`
      CREATE SCHEMA shop; CREATE TABLE shop.orders (id bigint PRIMARY KEY, owner_id text, state text);
      SELECT taskfeed.attach('shop.orders', 'orders', '{"map": {"pending": "queued", "done": "completed"}}');
      INSERT INTO shop.orders VALUES (1, 'alice', 'pending'), (2, NULL, 'pending'), (3, 'alice', 'lost')`);
    await goto("sources");
    const row = page.locator("tr[data-source=orders]");
    await row.getByText("the map does not name lost").waitFor();
    expect(await row.locator("td.number").allInnerTexts()).toEqual([expect.any(String), "0", expect.stringMatching(/[12]/), expect.stringMatching(/[12]/)]);
    await server.sql("ALTER TABLE shop.orders RENAME state TO phase");
    await row.getByText("its mapping reads the column state of shop.orders, which is phase now").waitFor({ timeout: 20_000 });
    await row.getByText("run taskfeed attach shop.orders --name orders with a mapping that reads the columns there are").waitFor();
    await row.getByRole("link", { name: "orders" }).click();
    await page.locator("tr[data-task='orders:1']").waitFor();
    expect(await page.locator("tr[data-task]").count()).toBe(1);
    await page.getByRole("link", { name: "orders:1" }).click();
    await page.locator("dd").getByRole("link", { name: "orders" }).waitFor();
  });
});

describe("connections and the playground", () => {
  it("a broken connection misses nothing and gets no duplicates", async () => {
    await server.sql("SELECT taskfeed.notify('alice', 'old_note', '{}') FROM generate_series(1, 600)"); // more than the lines shown
    await goto("playground");
    await page.getByRole("textbox", { name: "Token" }).fill(token("alice"));
    await page.getByLabel("Cursor").fill("0");
    await page.getByRole("button", { name: "Connect", exact: true }).click();
    await page.getByText("feed_live").waitFor();
    const log = async (): Promise<number> => (await server.sql("SELECT count(*)::int AS n FROM taskfeed.events WHERE user_id = 'alice' OR user_id IS NULL"))[0]!["n"];
    expect(await figure(page, "tally")).toBe(`${await log()} events, 0 of them twice`);

    await page.getByRole("button", { name: "Create", exact: true }).click();
    await page.getByLabel("The statement that ran").waitFor();
    await page.getByRole("button", { name: "Send ping" }).click();
    await page.getByText("pong").waitFor();
    await page.getByRole("button", { name: "Break off" }).click();
    await page.getByRole("button", { name: "Progress", exact: true }).click();
    await page.getByLabel("The statement that ran").getByText("UPDATE").waitFor();
    await page.getByText("feed_live").nth(1).waitFor();
    expect(await figure(page, "tally")).toBe(`${await log()} events, 0 of them twice`);
  });

  it("disconnects a client after asking", async () => {
    const other = await context.newPage();
    await open(other, server.base, "playground");
    await other.getByRole("textbox", { name: "Token" }).fill(token("heidi"));
    await other.getByRole("button", { name: "Connect", exact: true }).click();
    await other.getByText("the connection is open").waitFor();

    await goto("connections?user=heidi");
    const one = page.locator("tr[data-connection]");
    await one.waitFor();
    expect(await one.innerText()).toMatch(/heidi\s+websocket/);
    await one.getByRole("button", { name: /^Disconnect/ }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
    expect(await figure(other, "trial")).toBe("open");
    await one.getByRole("button", { name: /^Disconnect/ }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Disconnect", exact: true }).click();
    await other.getByText("closed with 4011").waitFor();
    await one.waitFor({ state: "detached" });
    await other.close();
  });
});

describe("below a path prefix", () => {
  it("everything works, also where WebSocket is blocked", async () => {
    const proxy = await prefixProxy(server.port, "/tools/feed", { sockets: false });
    const other = await newContext();
    const prefixed = await other.newPage();
    const complained = complaints(prefixed, /WebSocket|status of 404/);
    await open(prefixed, proxy.base, "tasks", token("alice")); // a user's feed, which tries WebSocket first
    await row("export-orders", prefixed).waitFor();
    await server.sql("UPDATE taskfeed.tasks SET message = 'through the proxy' WHERE id = 'export-orders'");
    await row("export-orders", prefixed).getByText("through the proxy").waitFor();
    expect((await server.api("/v1/connections?user_id=alice")).items.map((c: any) => c.transport)).toContain("sse");

    await prefixed.getByRole("link", { name: "export-orders" }).click();
    await prefixed.locator(".timeline svg").waitFor();
    await prefixed.reload();
    await prefixed.locator(".timeline svg").waitFor();
    expect(new URL(prefixed.url()).pathname).toBe("/tools/feed/console/tasks/export-orders");
    await prefixed.goto(proxy.base + "/console"); // without the slash
    await row("export-orders", prefixed).waitFor();
    await prefixed.goto(proxy.base + "/");
    await prefixed.getByRole("link", { name: "Console" }).click();
    await row("export-orders", prefixed).waitFor();
    expect(complained).toEqual([]);
    await other.close();
    await proxy.close();
  });
});

it("no test above caused errors or warnings in the page", () => expect(wrong).toEqual([]));
