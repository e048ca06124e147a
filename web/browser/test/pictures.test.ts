import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { seed } from "../support/data.js";
import { newContext, open } from "../support/page.js";
import { Server } from "../support/server.js";

// The pictures of the README, by "make pictures". They are no test of their own:
// what they show is tested elsewhere, and each one differs from the last.

const dir = join(import.meta.dirname, "../../../docs/images");
const most = 200_000; // bytes

/** Sets what happened so far apart in time, as if it had taken its time. */
const history = `
  UPDATE taskfeed.events AS e SET created_at = now() - interval '95 seconds' + n.n * n.n * interval '1.1 seconds'
  FROM (SELECT id, row_number() OVER (ORDER BY id) - 1 AS n FROM taskfeed.events WHERE task_id = 'export-orders') AS n
  WHERE e.id = n.id;
  SET session_replication_role = replica; -- no triggers: this is no change
  UPDATE taskfeed.tasks SET created_at = now() - interval '95 seconds', updated_at = now() - interval '25 seconds' WHERE id = 'export-orders'`;

const screens: { name: string; path: string; ready: (page: Page) => Promise<unknown> }[] = [
  { name: "overview", path: "", ready: () => sleep(45_000) }, // the charts need something to show
  { name: "tasks", path: "tasks", ready: (page) => page.locator("tr[data-task]").nth(8).waitFor() },
  { name: "task", path: "tasks/export-orders", ready: (page) => page.locator(".timeline svg").waitFor() },
  { name: "live", path: "live", ready: () => sleep(6000) },
];

describe.skipIf(!process.env["PICTURES"])("pictures", () => {
  let server: Server;
  beforeAll(async () => {
    mkdirSync(dir, { recursive: true });
    server = await Server.start({ demo: true });
    await seed(server);
    await sleep(8000);
    await server.sql(history);
  });
  afterAll(() => server.remove());

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
