import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium, type Browser, type BrowserContext, type BrowserContextOptions, type Page } from "playwright-core";
import { expect, inject } from "vitest";
import { adminToken } from "./server.js";

let browser: Browser | undefined;

/** Returns a new context of the one browser that all tests share. */
export async function newContext(options: BrowserContextOptions = {}): Promise<BrowserContext> {
  browser ??= await chromium.connect(inject("browser"));
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, reducedMotion: "reduce", ...options });
  context.setDefaultTimeout(30_000);
  return context;
}

/** Collects the errors and warnings of a page, except those that a test allows. */
export function complaints(page: Page, allowed = /^$/): string[] {
  const list: string[] = [];
  page.on("pageerror", (error) => list.push("error: " + error.message));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !allowed.test(message.text())) list.push(message.text());
  });
  return list;
}

/** Opens a screen of the console with a token, and waits until it is live. */
export async function open(page: Page, base: string, screen = "", token = adminToken()): Promise<void> {
  await page.goto(`${base}/console/${screen}#token=${token}`);
  await live(page);
}

export async function live(page: Page, within = 40_000): Promise<void> {
  await page.locator(".feed[data-state=live]").waitFor({ timeout: within });
}

/** Opens a screen by its link in the page. */
export async function visit(page: Page, name: string): Promise<void> {
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name, exact: true }).click();
  await page.getByRole("heading", { level: 1, name }).waitFor();
}

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Expects that the page has no violation of WCAG 2.2 AA and axe's best practices. */
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

/** Returns the text of the element of a figure. */
export function figure(page: Page, name: string): Promise<string> {
  return page.locator(`[data-figure=${name}]`).innerText();
}
