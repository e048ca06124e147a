import { spawn } from "node:child_process";
import { once } from "node:events";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from "vitest";
import { serveApp, type App } from "../support/app.js";
import { seed } from "../support/data.js";
import { startNginx, type Nginx } from "../support/nginx.js";
import { complaints, live, newContext, open, visit } from "../support/page.js";
import { adminToken, Server, token } from "../support/server.js";
import { waitFor } from "../support/wait.js";

// The real nginx with the recipes in deploy/proxies, at the root and below a path
// prefix. The console said "The server does not answer" behind every documented
// proxy, because they block /readyz.

let server: Server;
let app: App;
beforeAll(async () => {
  app = await serveApp(() => server.base);
  server = await Server.start({ origins: app.origin });
  await seed(server);
});
afterAll(async () => {
  await server.remove();
  await app.close();
});

const ids = ["a/b", "/", "a//b", "a b", "50%", "a%2Fb", "1+1", "schön/日本", "?x=1&y#z", "..", "a/../b", "\\", "tasks", ";v=1"];

describe.each(["root", "prefix"] as const)("nginx at the %s", (where) => {
  let nginx: Nginx;
  let context: BrowserContext;
  let page: Page;
  beforeAll(async () => { nginx = await startNginx(where, server.port); });
  afterAll(() => nginx.close());
  beforeEach(async () => {
    context = await newContext();
    page = await context.newPage();
  });
  afterEach(() => context.close());

  const ask = (path: string, bearer = adminToken()): Promise<Response> => fetch(nginx.base + path, { headers: { Authorization: "Bearer " + bearer } });

  it("blocks health and metrics", async () => {
    for (const path of ["/readyz", "/readyz?verbose", "/healthz", "/health/websockets", "/metrics", "//metrics", "/%6detrics", "/v1/../metrics", "/v1/..%2Fmetrics"]) {
      expect([path, (await fetch(nginx.base + path)).status]).toEqual([path, 403]);
    }
  });

  it.each([["an admin", adminToken], ["a user", () => token("alice")]])("shows the console to %s, without a banner", async (_, bearer) => {
    const wrong = complaints(page);
    await open(page, nginx.base, "tasks", bearer());
    await page.locator("tr[data-task]").nth(2).waitFor();
    await server.sql("UPDATE taskfeed.tasks SET progress = (progress + 1) % 100 WHERE id = 'render-intro'");
    const [row] = await server.sql("SELECT progress FROM taskfeed.tasks WHERE id = 'render-intro'");
    await page.locator("[data-task=render-intro]").getByText(`${row!["progress"]} %`).waitFor();
    const statuses: number[] = [];
    page.on("response", (answer) => { if (answer.url() === nginx.base + "/v1/status") statuses.push(answer.status()); });
    await waitFor("the console asks how the server is", async () => {
      await page.evaluate(() => dispatchEvent(new Event("online")));
      return statuses.length > 0;
    });
    expect(new Set(statuses)).toEqual(new Set([200]));
    expect(await page.locator(".banner").count(), "banners").toBe(0);
    expect(wrong).toEqual([]);
  });

  it("shows an admin every screen completely", async () => {
    const wrong = complaints(page);
    await open(page, nginx.base);
    await page.locator("#h-health").waitFor(); // from the metrics
    await visit(page, "Connections");
    await page.locator("tr[data-connection]").first().waitFor();
    await visit(page, "Diagnostics");
    await page.getByText("Head of the log").waitFor();
    await page.locator(".checks li[data-good=true]").nth(2).waitFor();
    await page.getByText("Cursor", { exact: true }).waitFor();
    expect(await page.getByText("cannot be read from here").count()).toBe(0);
    await visit(page, "About");
    for (const link of await page.locator("ul.links a").all()) {
      expect((await fetch((await link.getAttribute("href"))!)).status, await link.innerText()).toBe(200);
    }
    await page.reload();
    await live(page);
    expect(await page.locator(".banner").count(), "banners").toBe(0);
    expect(wrong).toEqual([]);
  });

  it("lets the console notice that the server goes down and comes back", async () => {
    await open(page, nginx.base, "tasks");
    await server.down();
    await page.locator(".banner[data-kind=away]").waitFor();
    await server.up();
    await live(page);
    await page.locator(".banner").waitFor({ state: "detached" });
  });

  it("passes pages, the client and the contract on", async () => {
    for (const path of ["/", "/demo", "/sdk/taskfeed.js", "/static/page.css", "/docs", "/openapi.yaml", "/console"]) {
      expect([path, (await fetch(nginx.base + path)).status]).toEqual([path, 200]);
    }
    await page.goto(`${nginx.base}/demo#token=${token("alice")}`);
    await page.locator("#state[data-state=live]").waitFor();
  });

  it("shows each task whatever its id", async () => {
    await server.sql(`INSERT INTO taskfeed.tasks (id, user_id) SELECT id, 'carol' FROM unnest(${array(ids)}) AS id ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id`);
    for (const id of ids) {
      const part = encodeURIComponent(id);
      if (id === "..") continue; // cannot be a part of a URL's path
      const answers = await Promise.all([`/v1/tasks/${part}`, `/v1/tasks/${part}/events`].map((path) => ask(path)));
      const own = await Promise.all([`/v1/me/tasks/${part}`, `/v1/me/tasks/${part}/events`].map((path) => ask(path, token("carol"))));
      expect([id, ...[...answers, ...own].map(({ status }) => status)]).toEqual([id, 200, 200, 200, 200]);
      expect(((await answers[0]!.json()) as { id: string }).id).toBe(id);
    }
    for (const id of ["a/b", "50%", "a%2Fb", "schön/日本", "a/../b"]) {
      await page.goto(`${nginx.base}/console/tasks/${encodeURIComponent(id)}#token=${adminToken()}`); // by its URL
      await page.getByRole("heading", { level: 1, name: id, exact: true }).waitFor();
      await page.locator(".facts").waitFor();
      await page.reload();
      await page.locator(".facts").waitFor();
    }
    await page.goto(`${nginx.base}/console/tasks?user=carol`);
    await page.locator("tr[data-task='1+1'] a").first().click(); // by a link
    await page.locator(".facts").waitFor();
    expect(await page.getByRole("heading", { level: 1 }).innerText()).toBe("1+1");
  });

  it.each(["websocket", "sse"])("passes a user's feed on over %s, whatever the user's id", async (transport) => {
    const users = ids.filter((id) => id !== "..");
    await server.sql(`SELECT taskfeed.notify(user_id, 'hello', '{}') FROM unnest(${array(users)}) AS user_id`);
    await waitFor("changes are in the log", async () => (await server.sql("SELECT count(*)::int AS n FROM taskfeed.changes"))[0]!["n"] === 0);
    const logged = await server.sql("SELECT user_id, max(id) AS id FROM taskfeed.events WHERE type = 'hello' GROUP BY user_id");
    await page.goto(app.origin);
    const seen = await page.evaluate(async ({ url, feeds, transports }) => {
      const { TaskFeed } = globalThis as any;
      return Promise.all(feeds.map(async ([userId, bearer]) => {
        const feed = new TaskFeed({ url, userId, getToken: () => bearer, transports, after: 0 });
        const got: number[] = [];
        feed.on("event", (e: { id: number }) => { got.push(e.id); });
        await feed.ready();
        await feed.close();
        return [userId, got.at(-1)];
      }));
    }, { url: nginx.base, feeds: users.map((user) => [user, token(user)] as const), transports: [transport] });
    expect(Object.fromEntries(seen)).toEqual(Object.fromEntries(logged.map((row) => [row["user_id"], Number(row["id"])])));
  });

  it("serves the commands, and with them the Go client, whatever the id", async () => {
    for (const id of ids.filter((id) => id !== "..")) {
      await server.sql(`INSERT INTO taskfeed.tasks (id, user_id) VALUES (${text(id)}, ${text(id)})
        ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id, message = concat(taskfeed.tasks.message, 'x')`);
      const story = JSON.parse(await command(["tasks", "show", "--output", "json", "--", id], adminToken()));
      expect(story.task).toMatchObject({ id, user_id: id });
      const frames = await command(["tail", "--output", "ndjson", "--quiet", "--after", "0", "--user", id], token(id), /"task_id":.*\n/);
      expect(JSON.parse(frames.split("\n").find((line) => line.includes("task_id"))!)).toMatchObject({ task_id: id });
    }
  });

  /** Runs a command to its end, or until it has printed the awaited text. */
  async function command(args: string[], bearer: string, until?: RegExp): Promise<string> {
    const child = spawn(inject("binary"), args, { env: { TASKFEED_URL: nginx.base, TASKFEED_TOKEN: bearer }, stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    let wrong = "";
    child.stdout.on("data", (data) => {
      out += data;
      if (until?.test(out)) child.kill("SIGTERM");
    });
    child.stderr.on("data", (data) => { wrong += data; });
    await once(child, "close");
    expect(wrong, args.join(" ")).toBe("");
    return out;
  }
});

const text = (value: string): string => `'${value.replaceAll("'", "''")}'`;
const array = (values: string[]): string => `ARRAY[${values.map(text).join(", ")}]`;
