import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { seed } from "../support/data.js";
import { newContext, open } from "../support/page.js";
import { Server, token } from "../support/server.js";

// Takes the screenshots of the README ("make pictures"). They are not a test: other
// tests cover what they show, and they differ each time.

const dir = join(import.meta.dirname, "../../../docs/images");
const most = 200_000; // bytes

/** The messages of a task of alice while the screenshots are taken. */
const steps = ["loading the data", "loading the data", "epoch 1", "epoch 1", "epoch 2", "epoch 2", "epoch 2", "epoch 3", "epoch 3", "epoch 4"];

const screens: { name: string; path: string; ready: (page: Page) => Promise<unknown> }[] = [
  { name: "overview", path: "", ready: () => sleep(45_000) }, // the charts need something to show
  { name: "tasks", path: "tasks", ready: (page) => page.locator("tr[data-task]").nth(8).waitFor() },
  { name: "task", path: "tasks/train-model", ready: (page) => page.locator(".timeline-stay").waitFor() },
];

describe.skipIf(!process.env["PICTURES"])("pictures", () => {
  let server: Server;
  let readers: BrowserContext;
  let work: Promise<void>;
  let on = true;

  /** Updates a task that takes three minutes, with irregular progress. */
  async function train(): Promise<void> {
    await server.sql("INSERT INTO taskfeed.tasks (id, user_id, kind) VALUES ('train-model', 'alice', 'train')");
    for (let i = 0; on && i < 40; i++) {
      await sleep(2000 + 1500 * (i % 4));
      const message = steps[Math.min(Math.floor(i / 2), steps.length - 1)]!;
      await server.sql(`UPDATE taskfeed.tasks SET status = 'running', progress = ${Math.round(100 * (1 - 0.955 ** i))}, message = '${message}' WHERE id = 'train-model'`);
    }
  }

  beforeAll(async () => {
    mkdirSync(dir, { recursive: true });
    server = await Server.start({ demo: true });
    await seed(server);
    readers = await newContext();
    work = train();
    for (const user of ["alice", "bob"]) { // the owners of the tasks
      const page = await readers.newPage();
      await page.goto(`${server.base}/demo#token=${token(user)}`);
      await sleep(5000);
    }
  });
  afterAll(async () => {
    on = false;
    await work;
    await readers.close();
    await server.remove();
  });

  it.each(["light", "dark"] as const)("in the %s theme", async (colorScheme) => {
    const context = await newContext({ colorScheme, viewport: { width: 1280, height: 800 } });
    const page = await context.newPage();
    for (const { name, path, ready } of screens) {
      await open(page, server.base, path);
      await ready(page);
      await page.mouse.move(0, 0);
      const file = join(dir, `console-${name}-${colorScheme}.png`);
      await page.screenshot({ path: file });
      expect(statSync(file).size, file).toBeLessThan(most);
    }
    await context.close();
  }, 180_000);
});
