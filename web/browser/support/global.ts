import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import type { TestProject } from "vitest/node";

declare module "vitest" {
  interface ProvidedContext { binary: string; browser: string }
}

// Chromium has no sandbox for root, and containers have little shared memory. It opens only pages of the tests.
const chromiumFlags = [
  "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

/** Builds the server and starts one browser for all tests. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const dir = mkdtempSync(join(tmpdir(), "taskfeed-browser-bin-"));
  const root = join(import.meta.dirname, "../../..");
  let binary = process.env["TASKFEED_BIN"];
  if (!binary) {
    binary = join(dir, "taskfeed");
    execFileSync("go", ["build", "-o", binary, "./cmd/taskfeed"], { cwd: root, stdio: "inherit" });
  }
  const browser = await chromium.launchServer({
    executablePath: execFileSync(join(import.meta.dirname, "../setup"), ["chromium"], { encoding: "utf8" }).trim(), headless: true, args: chromiumFlags,
    timeout: 120_000,
  });
  project.provide("binary", binary);
  project.provide("browser", browser.wsEndpoint());
  return async () => {
    await browser.close();
    rmSync(dir, { recursive: true, force: true });
  };
}

