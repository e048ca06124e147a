// The recipes of docs/recipes run as they stand there: each app makes a token, writes its tasks as a role of an app, and its
// page shows them in a browser.
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { createServer, type Server as HTTPServer } from "node:http";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { build, type Plugin } from "esbuild";
import { afterAll, beforeAll, expect, test } from "vitest";
import { newContext } from "../support/page.js";
import { query } from "../support/postgres.js";
import { secret, Server } from "../support/server.js";
import { freePort, waitFor } from "../support/wait.js";

const recipes = join(import.meta.dirname, "../../../docs/recipes");
const read = (name: string): string => readFileSync(join(recipes, name), "utf8");

/** The blocks of code of a language in a recipe, each with the file that the text before it names. */
function blocks(recipe: string, language: string): { file: string; code: string }[] {
  return [...read(recipe).matchAll(/^```(\w+)\n(.*?)^```$/gms)].filter(([, found]) => found === language).map(({ 2: code, index }) => ({
    file: [...read(recipe).slice(0, index).matchAll(/^`([\w./-]+)`/gm)].at(-1)?.[1] ?? "", code: code!,
  }));
}

/** Writes the files of a recipe into a directory and returns their names. */
function writeFiles(dir: string, recipe: string, languages: string[]): void {
  for (const { file, code } of languages.flatMap((language) => blocks(recipe, language))) {
    mkdirSync(join(dir, dirname(file)), { recursive: true });
    writeFileSync(join(dir, file), code);
  }
}

const page = blocks("README.md", "html")[0]!.code;

let server: Server;
let appURL: string;
let dir: string;
const ports = { fastapi: 0, django: 0, nextjs: 0 };
const running: ChildProcess[] = [];

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "taskfeed-recipes-"));
  for (const name of Object.keys(ports) as (keyof typeof ports)[]) ports[name] = await freePort();
  server = await Server.start({ origins: Object.values(ports).map((port) => `http://127.0.0.1:${port}`).join() });
  await server.sql("CREATE ROLE app LOGIN");
  await server.sql("SELECT taskfeed.grant_app('app')");
  await server.sql("GRANT CREATE ON SCHEMA public TO app"); // for the framework's own tables
  const url = new URL(server.postgres.url("feed"));
  url.username = "app";
  appURL = url.href;
});

afterAll(async () => {
  for (const child of running) child.kill("SIGKILL");
  await server?.remove();
  rmSync(dir, { recursive: true, force: true });
});

const python = (): string => execFileSync(join(import.meta.dirname, "../setup"), ["python"], { encoding: "utf8" }).trim();
const environment = (): Record<string, string> => ({
  PATH: process.env["PATH"]!, DATABASE_URL: appURL, TASKFEED_JWT_SECRET: secret, TASKFEED_URL: server.base, STEP: "0.05", PYTHONDONTWRITEBYTECODE: "1",
});

/** Starts an app and waits until it answers. */
async function start(program: string, args: string[], cwd: string, port: number, env: Record<string, string> = {}): Promise<string> {
  const child = spawn(program, args, { cwd, env: { ...environment(), ...env }, stdio: ["ignore", "pipe", "pipe"] });
  running.push(child);
  let log = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => { log += chunk; });
  const base = `http://127.0.0.1:${port}`;
  await waitFor(`the app in ${cwd} answers`, async () => {
    if (child.exitCode !== null) throw new Error(`the app has ended:\n${log}`);
    return fetch(base, { redirect: "manual" }).then(() => true, () => false);
  });
  return base;
}

/** Signs a user in, presses the button, and expects the task to be shown as completed, also on a page that is loaded later. */
async function expectProgress(base: string, signIn: (context: Awaited<ReturnType<typeof newContext>>) => Promise<void>): Promise<void> {
  const context = await newContext();
  try {
    const visitor = await context.newPage();
    const wrong: string[] = [];
    visitor.on("pageerror", (error) => wrong.push(error.message));
    expect((await fetch(base + "/taskfeed-token", { redirect: "manual" })).ok, "a token for nobody").toBe(false);
    await signIn(context);
    const press = async (): Promise<void> => {
      const answered = visitor.waitForResponse((response) => response.url().endsWith("/exports"));
      await visitor.getByRole("button", { name: "Export" }).click();
      expect((await answered).status()).toBe(202);
    };
    await visitor.goto(base);
    await press();
    await visitor.goto(base);
    await visitor.getByText("export completed").waitFor();
    expect(await visitor.locator("progress").evaluateAll((bars) => bars.map((bar) => (bar as HTMLProgressElement).value))).toEqual([100]);
    await press();
    if (new URL(visitor.url()).pathname !== "/") await visitor.goto(base); // else live, on the page that is open
    await expect.poll(() => visitor.getByText("export completed").count(), { timeout: 30_000 }).toBe(2);
    const made = await context.request.get(base + "/taskfeed-token");
    expect(made.headers()["cache-control"]).toContain("no-store");
    const claims = (await made.text()).split(".")[1]!;
    const { sub } = JSON.parse(Buffer.from(claims, "base64url").toString());
    await server.sql(`INSERT INTO taskfeed.tasks (id, user_id, kind) SELECT 'many-${sub}-' || n, '${sub}', 'import' FROM generate_series(1, 600) n`);
    await visitor.goto(base);
    await expect.poll(() => visitor.getByText("import queued").count(), { message: "tasks of more than one page", timeout: 30_000 }).toBe(600);
    expect(wrong).toEqual([]);
  } finally {
    await context.close();
  }
}

test("FastAPI", async () => {
  const app = join(dir, "fastapi");
  mkdirSync(app);
  writeFileSync(join(app, "app.py"), blocks("fastapi.md", "python")[0]!.code);
  writeFileSync(join(app, "page.html"), `<!doctype html><body data-user="{user}">${page}${blocks("fastapi.md", "html")[0]!.code}`);
  const base = await start(python(), ["-m", "uvicorn", "app:app", "--port", String(ports.fastapi)], app, ports.fastapi);
  await expectProgress(base, async (context) => { await context.request.post(base + "/login", { form: { user: "alice" } }); });
});

test("Django", async () => {
  const project = join(dir, "django");
  writeFiles(join(project, "site_app"), "django.md", ["python"]);
  writeFileSync(join(project, "site_app/__init__.py"), "");
  mkdirSync(join(project, "site_app/templates"));
  writeFileSync(join(project, "site_app/templates/page.html"), `<!doctype html><body data-user="{{ user.pk }}">${page.replaceAll("https://feed.example.com", "{{ server }}")}${blocks("django.md", "html")[0]!.code}`);
  const { hostname, port } = new URL(appURL);
  writeFileSync(join(project, "settings.py"), `
import os
SECRET_KEY = "of the tests"
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "feed", "USER": "app", "HOST": "${hostname}", "PORT": "${port}"}}
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "site_app"]
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.csrf.CsrfViewMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True, "OPTIONS": {"context_processors": ["django.template.context_processors.request", "django.contrib.auth.context_processors.auth"]}}]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TASKFEED_JWT_SECRET = os.environ["TASKFEED_JWT_SECRET"]
TASKFEED_URL = os.environ["TASKFEED_URL"]
`);
  // The test's own sign-in, and a page to come back to after the form.
  writeFileSync(join(project, "urls.py"), `
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.urls import include, path

def sign_in(request):
    user, _ = User.objects.get_or_create(username="alice")
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return HttpResponse("signed in")

urlpatterns = [path("sign-in", sign_in), path("", include("site_app.urls"))]
`);
  const run = (...args: string[]): string => execFileSync(python(), ["-m", "django", ...args], { cwd: project, env: { ...environment(), PYTHONPATH: project, DJANGO_SETTINGS_MODULE: "settings" }, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  const before = await server.sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'taskfeed'::regnamespace");
  run("makemigrations", "site_app");
  expect(run("sqlmigrate", "site_app", "0001"), "what the migration would do to our table").not.toMatch(/CREATE|ALTER|DROP/);
  run("migrate");
  const base = await start(python(), ["-m", "django", "runserver", "--noreload", String(ports.django)], project, ports.django, { PYTHONPATH: project, DJANGO_SETTINGS_MODULE: "settings" });
  await expectProgress(base, async (context) => { await context.request.get(base + "/sign-in"); });
  expect(await server.sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'taskfeed'::regnamespace"), "tables, indexes of ours").toEqual(before);
  const sent = run("shell", "-c", `
from django.db import connection
from site_app.models import Task
Task(id="sent", user_id="1", kind="export").save(force_insert=True)
Task.objects.filter(id="sent").update(status="running", progress=25)
for query in connection.queries: print(query["sql"])
`);
  for (const { code } of blocks("django.md", "sql")) {
    for (const statement of code.trim().split(";\n").slice(0, 2)) expect(sent).toContain(statement.replaceAll("'t1'", "'sent'"));
  }
}, 180_000); // Python starts six times

test("Next.js", async () => {
  const app = join(dir, "nextjs");
  writeFiles(app, "nextjs.md", ["ts", "tsx"]);
  mkdirSync(join(app, "node_modules/next"), { recursive: true });
  // What Next.js gives a handler: the cookies of the request, and work after the answer.
  writeFileSync(join(app, "node_modules/next/package.json"), `{"name": "next", "type": "module", "exports": {"./headers": "./headers.js", "./server": "./server.js"}}`);
  writeFileSync(join(app, "node_modules/next/headers.js"), `export const cookies = async () => ({ get: (name) => globalThis.cookiesOfRequest[name] && { value: globalThis.cookiesOfRequest[name] } });`);
  writeFileSync(join(app, "node_modules/next/server.js"), `export const after = (work) => { globalThis.afterwards = work(); };`);
  const client = join(import.meta.dirname, "../../client/src");
  const ours: Plugin = {
    name: "ours",
    setup({ onResolve }) {
      onResolve({ filter: /^@taskfeed\/client/ }, ({ path }) => ({ path: join(client, path.endsWith("react") ? "react.ts" : "index.ts") }));
    },
  };
  const nodePaths = [join(import.meta.dirname, "../../node_modules")];
  const load = async (route: string): Promise<any> => {
    const outfile = join(app, `${route}.mjs`);
    await build({ entryPoints: [join(app, `app/${route}/route.ts`)], bundle: true, platform: "node", format: "esm", outfile, nodePaths, external: ["pg"], logLevel: "error" });
    return import(pathToFileURL(outfile).href);
  };
  writeFileSync(join(app, "main.tsx"), `
    import { createRoot } from "react-dom/client";
    import { Progress } from "./app/progress";
    createRoot(document.getElementById("root")!).render(<Progress server=${JSON.stringify(server.base)} user="carol" />);`);
  const browser = await build({ entryPoints: [join(app, "main.tsx")], bundle: true, write: false, format: "iife", jsx: "automatic", nodePaths, plugins: [ours], define: { "process.env.NODE_ENV": '"production"' }, logLevel: "error" });
  const script = browser.outputFiles[0]!.text;
  Object.assign(process.env, { DATABASE_URL: appURL, TASKFEED_JWT_SECRET: secret });
  mkdirSync(join(app, "node_modules/pg"), { recursive: true });
  writeFileSync(join(app, "node_modules/pg/package.json"), `{"name": "pg", "type": "module", "exports": "./index.js"}`);
  writeFileSync(join(app, "node_modules/pg/index.js"), `export { default } from ${JSON.stringify(pathToFileURL(join(nodePaths[0]!, "pg/esm/index.mjs")).href)};`);
  const [token, exports] = [await load("taskfeed-token"), await load("exports")];
  const next: HTTPServer = createServer(async (request, answer) => {
    Object.assign(globalThis, { cookiesOfRequest: Object.fromEntries((request.headers.cookie ?? "").split("; ").map((pair) => pair.split("="))) });
    const handler = request.url === "/taskfeed-token" ? token.GET : request.url === "/exports" ? exports.POST : undefined;
    if (request.url === "/main.js") {
      answer.setHeader("Content-Type", "text/javascript").end(script);
    } else if (handler) {
      const made: Response = await handler();
      answer.writeHead(made.status, Object.fromEntries(made.headers)).end(await made.text());
    } else {
      answer.setHeader("Content-Type", "text/html").end(`<!doctype html><div id="root"></div><button onclick="fetch('/exports', { method: 'POST' })">Export</button><script src="/main.js"></script>`);
    }
  });
  await new Promise<void>((resolve) => next.listen(ports.nextjs, "127.0.0.1", resolve));
  try {
    const base = `http://127.0.0.1:${ports.nextjs}`;
    await expectProgress(base, (context) => context.addCookies([{ name: "user", value: "carol", url: base }]));
  } finally {
    next.closeAllConnections();
    await new Promise((resolve) => next.close(resolve));
  }
});

test("every recipe keeps tokens out of caches, and the cause of a failure from its user", () => {
  for (const recipe of readdirSync(recipes).filter((name) => name !== "README.md")) {
    expect(read(recipe), recipe).toMatch(/no-store|never_cache|noStore\(\)/);
    expect(read(recipe), recipe).toContain("the export failed");
    expect(read(recipe), recipe).not.toMatch(/getMessage\(\)|err\.Error\(\)|str\(error\)|String\(error\)|error: error\.message|Exception\.message/);
  }
});

test("the SQL that frameworks send works with the rights of an app", async () => {
  let tried = 0;
  for (const recipe of readdirSync(recipes)) {
    for (const { code } of blocks(recipe, "sql")) {
      for (const statement of code.trim().split(";\n")) {
        await query(appURL, statement).catch((error) => { throw new Error(`${recipe}: ${statement}: ${error.message}`); });
      }
      expect((await server.sql("SELECT status, progress, result FROM taskfeed.tasks WHERE id = 't1'"))[0], recipe).toMatchObject({ status: "completed", progress: 25, result: { rows: 4 } });
      await query(appURL, "DELETE FROM taskfeed.tasks WHERE id = 't1'");
      tried++;
    }
  }
  expect(tried, "recipes with SQL").toBe(5);
});
