import type { BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { seed } from "../support/data.js";
import { accessible, complaints, live, newContext, open, visit } from "../support/page.js";
import { adminToken, Server, token } from "../support/server.js";

let server: Server;
beforeAll(async () => {
  server = await Server.start();
  await seed(server);
});
afterAll(() => server.remove());

const rows = (page: Page) => page.locator("tr[data-task]");

/** Every screen, and when it is ready. */
const screens: { name: string; path: string; ready: (page: Page) => Promise<unknown> }[] = [
  { name: "overview", path: "", ready: (page) => page.locator(".chart-box canvas").nth(1).waitFor() },
  { name: "tasks", path: "tasks", ready: (page) => rows(page).nth(5).waitFor() },
  { name: "no tasks", path: "tasks?kind=none", ready: (page) => page.getByText("No task matches").waitFor() },
  { name: "a task", path: "tasks/export-orders", ready: (page) => page.locator(".timeline svg").waitFor() },
  { name: "no task", path: "tasks/nothing", ready: (page) => page.getByText("There is no such task").waitFor() },
  { name: "live", path: "live", ready: (page) => page.getByText("No event has come").waitFor() },
  { name: "connections", path: "connections", ready: (page) => page.locator("tr[data-connection]").first().waitFor() },
  { name: "sources", path: "sources", ready: (page) => page.locator("tr[data-source]").getByText("the map does not name paused").waitFor() },
  { name: "playground", path: "playground", ready: (page) => page.getByText("Try a change").waitFor() },
  { name: "diagnostics", path: "diagnostics", ready: (page) => page.getByText("Head of the log").waitFor() },
  { name: "about", path: "about", ready: (page) => page.getByRole("heading", { name: "What it promises" }).waitFor() },
  { name: "no screen", path: "nowhere/at/all", ready: (page) => page.getByText("There is no such screen").waitFor() },
];

/** States that open only after an action. */
const states: { name: string; path: string; act: (page: Page) => Promise<unknown> }[] = [
  { name: "the list of shortcuts", path: "tasks", act: (page) => page.keyboard.press("?") },
  { name: "settings", path: "tasks", act: (page) => page.locator(".settings summary").click() },
  { name: "paused", path: "tasks", act: (page) => page.getByRole("button", { name: "Pause" }).click() },
  { name: "a filter in use", path: "tasks?status=failed,completed&text=e", act: (page) => rows(page).first().waitFor() },
  { name: "charts as tables", path: "", act: async (page) => {
    for (const button of await page.getByRole("button", { name: "As a table" }).all()) await button.click();
  } },
  { name: "an event's JSON", path: "tasks/export-orders", act: (page) => page.locator(".events > li > details > summary").last().click() },
  { name: "who was connected", path: "tasks/import-crm", act: async (page) => {
    const other = await page.context().newPage();
    await open(other, server.base, "tasks", token("alice"));
    await page.bringToFront();
    await page.locator(".stays li").first().waitFor();
  } },
  { name: "live events", path: "live", act: async (page) => {
    await server.sql("SELECT taskfeed.broadcast('maintenance_planned', '{\"at\": \"noon\"}')");
    await page.locator(".tail > li > details > summary").first().click();
  } },
  { name: "the question before disconnecting", path: "connections", act: (page) =>
    page.getByRole("button", { name: /^Disconnect/ }).first().click() },
  { name: "a token's claims and frames", path: "playground", act: async (page) => {
    await page.getByRole("textbox", { name: "Token" }).fill(token("alice"));
    await page.getByLabel("Cursor").fill("0");
    await page.getByRole("button", { name: "Connect", exact: true }).click();
    await page.getByText("feed_live").first().waitFor();
  } },
];

const wide = { width: 1280, height: 860 };
const narrow = { width: 390, height: 844 };

/** Checks an open page in both themes. */
async function accessibleInThemes(page: Page, name: string): Promise<void> {
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    await accessible(page, `${name} in the ${colorScheme} theme`);
  }
}

describe("in both themes", () => {
  let context: BrowserContext;
  let page: Page;
  let wrong: string[];
  beforeAll(async () => {
    context = await newContext({ viewport: wide });
    page = await context.newPage();
    wrong = complaints(page, /status of 404/);
    await open(page, server.base);
  });
  afterAll(() => context.close());

  it.each(screens)("$name is accessible, and fits a screen of 390 px", async ({ name, path, ready }) => {
    wrong.length = 0;
    await page.goto(`${server.base}/console/${path}`);
    await ready(page);
    await accessibleInThemes(page, name);
    await page.setViewportSize(narrow);
    await page.waitForFunction((width) => document.documentElement.scrollWidth <= width, narrow.width);
    await accessible(page, name + " at 390 px");
    await page.setViewportSize(wide);
    expect(wrong).toEqual([]);
  });

  it.each(states)("$name: accessible", async ({ name, path, act }) => {
    wrong.length = 0;
    await page.goto(`${server.base}/console/${path}`);
    await live(page);
    await act(page);
    await accessibleInThemes(page, name);
    expect(wrong).toEqual([]);
  });

  it("the login is accessible", async () => {
    const other = await newContext();
    const login = await other.newPage();
    await login.goto(`${server.base}/console/`);
    await login.getByLabel("Token").fill("nonsense");
    await login.getByRole("button", { name: "Log in" }).click();
    await login.getByText("This is not a JWT").waitFor();
    await accessibleInThemes(login, "login");
    await other.close();
  });

  it("the welcome and the demo page are accessible", async () => {
    await page.goto(server.base + "/");
    await accessibleInThemes(page, "welcome");
    await page.goto(`${server.base}/#token=${token("alice")}`);
    await page.locator("#state[data-state=live]").waitFor();
    expect(new URL(page.url()).pathname, "where a link with a token to / leads").toBe("/demo");
    await accessibleInThemes(page, "demo");
  });
});

describe("on a touch screen of 390 px", () => {
  let context: BrowserContext;
  let page: Page;
  beforeAll(async () => {
    context = await newContext({ viewport: narrow, hasTouch: true });
    page = await context.newPage();
    await open(page, server.base);
  });
  afterAll(() => context.close());

  it("the menu opens, leads somewhere and closes", async () => {
    await page.goto(`${server.base}/console/about`);
    const menu = page.getByRole("button", { name: "Menu" });
    await menu.click();
    await visit(page, "Tasks");
    expect(await menu.getAttribute("aria-expanded")).toBe("false");
  });
});

describe("the theme", () => {
  it("is there before the first paint", async () => {
    const context = await newContext({ colorScheme: "light" });
    const page = await context.newPage();
    await page.addInitScript(() => {
      requestAnimationFrame(() => { (globalThis as any).atFirstPaint = document.documentElement.dataset["theme"]; });
    });
    await open(page, server.base, "tasks");
    await page.locator(".settings summary").click();
    await page.getByLabel("Theme").selectOption("Dark");
    const dark = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await page.reload();
    expect(await page.evaluate(() => (globalThis as any).atFirstPaint)).toBe("dark");
    await live(page);
    expect(await page.evaluate(() => getComputedStyle(document.body).backgroundColor)).toBe(dark);
    await context.close();
  });
});

describe("the login", () => {
  it("by a link leaves no token in the URL", async () => {
    const context = await newContext();
    const page = await context.newPage();
    await open(page, server.base, "tasks?status=running");
    expect(page.url()).toBe(`${server.base}/console/tasks?status=running`);
    await page.reload();
    await live(page); // the tab has stored the token
    await page.getByRole("button", { name: "Log out" }).click();
    await page.reload();
    await page.getByRole("heading", { name: "Log in" }).waitFor();
    await context.close();
  });

  it("asks for another token when one is refused", async () => {
    const context = await newContext();
    const page = await context.newPage();
    await page.goto(`${server.base}/console/#token=${token("alice", { seconds: -3600 })}`);
    await page.getByRole("alert").waitFor();
    await page.getByLabel("Token").fill(adminToken());
    await page.keyboard.press("Enter");
    await live(page);
    await context.close();
  });

  it("shows a user only their own tasks", async () => {
    const context = await newContext();
    const page = await context.newPage();
    await open(page, server.base, "", token("alice"));
    await rows(page).nth(2).waitFor();
    expect(await rows(page).evaluateAll((list) => list.map((row) => row.getAttribute("data-task")).sort()))
      .toEqual(["export-orders", "import-crm", "render-intro"]);
    expect(await page.getByRole("navigation", { name: "Main" }).getByRole("link").allInnerTexts()).toEqual(["Tasks", "Live", "Playground", "About"]);
    await page.goto(`${server.base}/console/tasks/export-invoices`);
    await page.getByText("There is no such task").waitFor();
    await page.goto(`${server.base}/console/connections`);
    await page.getByRole("heading", { name: "For admins" }).waitFor();
    await page.goto(`${server.base}/console/tasks`);
    await rows(page).first().waitFor();
    await server.sql("UPDATE taskfeed.tasks SET progress = 77 WHERE id = 'render-intro'; UPDATE taskfeed.tasks SET message = 'x' WHERE id = 'summary-q3'");
    await page.locator("[data-task=render-intro]").getByText("77 %").waitFor();
    await accessible(page, "a user's tasks");
    await context.close();
  });
});

describe("a user with groups", () => {
  it("sees the groups' tasks, and may choose one feed", async () => {
    const context = await newContext();
    const page = await context.newPage();
    await open(page, server.base, "", token("alice", { feeds: ["bob"] }));
    await rows(page).nth(5).waitFor();
    expect(await page.locator(".who .groups").innerText()).toBe("bob");
    expect(await rows(page).locator(".cell-user").allInnerTexts()).toEqual(expect.arrayContaining(["alice", "bob"]));
    await page.goto(`${server.base}/console/tasks?user=bob`);
    await page.locator("[data-task=export-invoices]").waitFor();
    expect(await rows(page).locator(".cell-user").allInnerTexts()).toEqual(["bob", "bob", "bob"]);
    await context.close();
  });
});

describe("by keyboard alone", () => {
  let context: BrowserContext;
  let page: Page;
  beforeAll(async () => {
    context = await newContext();
    page = await context.newPage();
    await open(page, server.base, "about");
  });
  afterAll(() => context.close());
  const focused = (): Promise<string> => page.evaluate(() => document.activeElement?.textContent ?? "");

  it("the first link skips to the content", async () => {
    await page.goto(`${server.base}/console/about`);
    await live(page);
    await page.keyboard.press("Tab");
    expect(await focused()).toBe("Skip to the content");
    await page.keyboard.press("Enter");
    expect(await focused()).toBe("About");
    expect(page.url()).toBe(`${server.base}/console/about`);
  });

  it("shortcuts open screens, whose headings get the focus", async () => {
    await page.keyboard.press("g");
    await page.keyboard.press("t");
    await page.getByRole("heading", { level: 1, name: "Tasks" }).waitFor();
    expect(await focused()).toBe("Tasks");
    await page.keyboard.press("/");
    expect(await page.evaluate(() => document.activeElement?.hasAttribute("data-search"))).toBe(true);
    await page.keyboard.type("g t ? "); // typed text, not shortcuts
    expect(await page.locator("[data-search]").inputValue()).toBe("g t ? ");
    expect(await page.locator("dialog").count()).toBe(0);
  });

  it("the list of shortcuts opens, closes, and returns the focus", async () => {
    await page.goto(`${server.base}/console/tasks`);
    await live(page);
    await page.getByRole("button", { name: "Pause" }).focus();
    await page.keyboard.press("?");
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    expect(await page.locator("dialog").count()).toBe(0);
    expect(await focused()).toBe("Pause");
  });

  it("shortcuts can be switched off", async () => {
    await page.keyboard.press("?");
    await page.getByRole("dialog").getByLabel("Keyboard shortcuts").selectOption("Off");
    await page.keyboard.press("Escape");
    await page.keyboard.press("?");
    expect(await page.locator("dialog").count()).toBe(0);
  });
});
