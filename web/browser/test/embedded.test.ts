// An app that serves the feeds itself: its own sessions say who the user is, in the console too.
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { live, newContext } from "../support/page.js";
import { Postgres } from "../support/postgres.js";
import { freePort, waitFor } from "../support/wait.js";

const dir = mkdtempSync(join(tmpdir(), "taskfeed-embedded-"));
let postgres: Postgres;
let app: ChildProcess;
let base: string;

beforeAll(async () => {
  postgres = await Postgres.start();
  await postgres.sql("postgres", "CREATE DATABASE app");
  const program = join(dir, "embedded");
  execFileSync("go", ["build", "-o", program, "./examples/embedded"], { cwd: join(import.meta.dirname, "../../.."), stdio: "inherit" });
  const port = await freePort();
  base = `http://127.0.0.1:${port}`;
  let log = "";
  app = spawn(program, { env: { PORT: String(port), DATABASE_URL: postgres.url("app") }, stdio: ["ignore", "pipe", "pipe"] });
  for (const stream of [app.stdout!, app.stderr!]) stream.on("data", (chunk) => { log += chunk; });
  await waitFor("the app is ready", async () => {
    if (app.exitCode !== null) throw new Error(`the app has ended:\n${log}`);
    return fetch(base + "/feeds/readyz").then((r) => r.ok, () => false);
  });
}, 180_000);

afterAll(async () => {
  app?.kill("SIGKILL");
  await postgres?.remove();
  rmSync(dir, { recursive: true, force: true });
});

test("the console asks for no token", async () => {
  const context = await newContext();
  try {
    const console = await context.newPage();
    await console.goto(base + "/feeds/console/");
    await console.getByText("Sign in there").waitFor();
    expect(await console.getByRole("textbox").count(), "fields for a token").toBe(0);

    const page = await context.newPage();
    await page.goto(base);
    await page.getByPlaceholder("your name").fill("alice");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("button", { name: "Make a report" }).click();

    await console.getByRole("button", { name: "I have signed in" }).click();
    await live(console);
    await console.locator("tr[data-task]").first().waitFor();
    await console.getByRole("row").filter({ hasText: "completed" }).first().waitFor();
    expect(await console.locator(".who strong").innerText()).toBe("alice");
    expect(await console.getByRole("button", { name: "Log out" }).count()).toBe(0);
  } finally {
    await context.close();
  }
});
