import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium, type Browser, type BrowserContext, type BrowserContextOptions, type Page } from "playwright-core";
import { expect, inject } from "vitest";
import { adminToken } from "./server.js";

let browser: Browser | undefined;

/** One browser for all tests; each has a context of its own. */
export async function newContext(options: BrowserContextOptions = {}): Promise<BrowserContext> {
  browser ??= await chromium.connect(inject("browser"));
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, reducedMotion: "reduce", ...options });
  context.setDefaultTimeout(30_000);
  return context;
}

/** What a page complained of, apart from answers that a test provokes. */
export function complaints(page: Page, allowed = /^$/): string[] {
  const list: string[] = [];
  page.on("pageerror", (error) => list.push("error: " + error.message));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !allowed.test(message.text())) list.push(message.text());
  });
  return list;
}

/** Opens a screen of the console as whoever the token is for, and waits until it is live. */
export async function open(page: Page, base: string, screen = "", token = adminToken()): Promise<void> {
  await page.goto(`${base}/console/${screen}#token=${token}`);
  await live(page);
}

export async function live(page: Page, within = 40_000): Promise<void> {
  await page.locator(".feed[data-state=live]").waitFor({ timeout: within });
}

/** Goes to a screen within the open page. */
export async function visit(page: Page, name: string): Promise<void> {
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name, exact: true }).click();
  await page.getByRole("heading", { level: 1, name }).waitFor();
}

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Checks the page by WCAG 2.2 AA and axe's best practices: no violation. */
export async function accessible(page: Page, what: string): Promise<void> {
  await page.evaluate(axeSource);
  const found = await page.evaluate(async () => {
    const { axe } = globalThis as any;
    const result = await axe.run(document, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], resultTypes: ["violations"],
    });
    return result.violations.map((v: any) => `${v.id}: ${v.nodes.map((n: any) => `${n.target} ${n.failureSummary}`).join(" | ")}`);
  });
  expect(found, `accessibility of ${what}`).toEqual([]);
}

/** The text of an element that stands for a figure. */
export function figure(page: Page, name: string): Promise<string> {
  return page.locator(`[data-figure=${name}]`).innerText();
}
