import { execFileSync } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

// The shipped package, as npm packs it, installed into a fresh project and imported by its name.

const root = fileURLToPath(new URL("..", import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), "utf8");
const manifest = JSON.parse(read("package.json"));

let app: string;
let shipped: string[];

beforeAll(() => {
  execFileSync(process.execPath, [join(root, "build.mjs"), "--modules"]);
  app = mkdtempSync(join(tmpdir(), "taskfeed-app-"));
  const npm = (args: string[], cwd: string): string => execFileSync("npm", [...args, "--loglevel", "error"], { cwd, encoding: "utf8" });
  const [packed] = JSON.parse(npm(["pack", "--json", "--ignore-scripts", "--pack-destination", app], root)) as { filename: string; files: { path: string }[] }[];
  shipped = packed!.files.map(({ path }) => path);
  writeFileSync(join(app, "package.json"), JSON.stringify({ name: "fresh-app", private: true }));
  npm(["install", "--offline", "--no-audit", "--no-fund", "--ignore-scripts", `./${packed!.filename.replace(/^@/, "").replace("/", "-")}`], app);
  for (const name of ["react", "@types"]) symlinkSync(join(root, "..", "node_modules", name), join(app, "node_modules", name));
}, 60_000);

afterAll(() => rmSync(app, { recursive: true, force: true }));

/** Runs a program of the app in Node and returns its output. */
function run(file: string, source: string): string {
  writeFileSync(join(app, file), source);
  return execFileSync(process.execPath, [file], { cwd: app, encoding: "utf8" }).trim();
}

const names = "TaskFeed,TaskFeedError,TaskWebSocket,TokenRejected,applyEvent,localStorageCursor";
const hooks = "TaskFeedProvider,useTask,useTaskFeed,useTasks,useUnread";
const print = "const show = (m) => console.log(Object.keys(m).filter((k) => k !== 'default' && k !== 'module.exports').sort().join());";

describe("the package", () => {
  test("is small, and a rebuild gives the committed bytes", async () => {
    const { check } = (await import(join(root, "check.mjs"))) as { check(): Promise<{ faults: string[] }> };
    expect((await check()).faults).toEqual([]);
  }, 60_000);

  test("needs nothing at run time, and pins what it is built with", () => {
    expect(manifest.dependencies).toBe(undefined);
    expect(Object.values(manifest.devDependencies).filter((version) => !/^\d+\.\d+\.\d+$/.test(version as string))).toEqual([]);
    expect(manifest.peerDependenciesMeta).toEqual({ react: { optional: true } });
    expect(manifest.license).toBe("Apache-2.0");
  });

  test("every file that it exports exists", () => {
    const files = (value: unknown): string[] => (typeof value === "string" ? [value] : Object.values(value as object).flatMap(files));
    expect([...files(manifest.exports), manifest.main, manifest.module, manifest.types].filter((file) => !existsSync(join(root, file)))).toEqual([]);
  });

  test("ships its build and sources, and nothing of its tests", () => {
    expect(shipped.filter((path) => !/^(dist\/|src\/|README\.md$|LICENSE$|package\.json$)/.test(path))).toEqual([]);
    expect(existsSync(join(app, "node_modules/@taskfeed/client/package.json"))).toBe(true);
    expect(lstatSync(join(app, "node_modules/@taskfeed/client")).isSymbolicLink()).toBe(false);
  });

  test("can be imported", () => {
    expect(run("a.mjs", `import * as m from "@taskfeed/client"; import * as r from "@taskfeed/client/react"; ${print} show(m); show(r);`)).toBe(`${names}\n${hooks}`);
  });

  test("can be required", () => {
    expect(run("a.cjs", `${print} show(require("@taskfeed/client")); show(require("@taskfeed/client/react"));`)).toBe(`${names}\n${hooks}`);
  });

  test.each([["mjs", "esm"], ["cjs", "cjs"]])("the part for shared connections is found from %s", (ext, format) => {
    const client = ext === "mjs" ? 'import { TaskFeed } from "@taskfeed/client";' : 'const { TaskFeed } = require("@taskfeed/client");';
    expect(run(`shared.${ext}`, `${client}
      const asked = [];
      Object.defineProperty(globalThis, "navigator", { value: { locks: { request: async (name, options, lead) => { asked.push(name); await lead(); } } } });
      const feed = new TaskFeed({ url: "http://127.0.0.1:1", userId: "alice", shared: true, getToken: () => { console.log(asked.join()); feed.close(); return "t"; } });
      feed.connect();`), format).toBe("taskfeed1 ws://127.0.0.1:1/ws/alice?");
  });

  test.each([["esm", "module", ["ES2022", "DOM"], []], ["cjs", "commonjs", ["ES2022"], ["node"]]])("its types are right for %s", (format, type, lib, types) => {
    const dir = join(app, format);
    mkdirSync(dir);
    writeFileSync(join(dir, "package.json"), JSON.stringify({ type }));
    writeFileSync(join(dir, "a.ts"), `
      import { TaskFeed, type FeedEvent } from "@taskfeed/client";
      import { useTask } from "@taskfeed/client/react";
      const feed = new TaskFeed({ userId: "a", getToken: () => "t" });
      feed.on("task_completed", (e) => e.version.toFixed());
      export const kinds = (e: FeedEvent): string => e.type;
      export const status = (): string | undefined => useTask("t1")?.status;
      // @ts-expect-error there is no such method
      feed.nonsense();`);
    const options = { module: "NodeNext", target: "ES2022", lib, strict: true, noEmit: true, types };
    writeFileSync(join(dir, "tsconfig.json"), JSON.stringify({ compilerOptions: options, files: ["a.ts"] }));
    const tsc = join(root, "..", "node_modules", "typescript", "bin", "tsc");
    expect(() => execFileSync(process.execPath, [tsc, "-p", dir], { encoding: "utf8" })).not.toThrow();
  }, 30_000);

  test("the example holds 60 lines at most", () => {
    expect(read("examples/tasks.tsx").trimEnd().split("\n").length).toBeLessThanOrEqual(60);
  });

  test("no file of the sources is too long", () => {
    for (const file of ["feed", "share", "session", "sse", "types"]) expect(read(`src/${file}.ts`).split("\n").length).toBeLessThan(500);
  });
});
