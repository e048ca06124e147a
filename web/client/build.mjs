// Builds the package into dist: `node build.mjs`. The same sources give the same bytes.
// The files that servers embed are committed: taskfeed.js for script tags, and share.js,
// which taskfeed.js loads when needed. The others are not.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { minify } from "terser";

const root = dirname(fileURLToPath(import.meta.url));

// One entry for each file of the package. index loads share when it is needed.
const entries = ["index", "share", "react"];

/** Bundles and minifies one entry. */
async function bundle(entry, options) {
  const { outputFiles } = await build({
    entryPoints: [join(root, "src", entry + ".ts")],
    bundle: true,
    write: false,
    target: "es2022",
    legalComments: "none",
    absWorkingDir: root,
    minifySyntax: true,
    supported: { "dynamic-import": options.format !== "cjs" }, // in CommonJS it becomes a require
    ...options,
  });
  const { code } = await minify(outputFiles[0].text, {
    ecma: 2020,
    module: options.format === "esm",
    toplevel: true,
    compress: { passes: 3, pure_getters: true, hoist_funs: true, lhs_constants: false }, // property reads have no side effects here
    format: { comments: false },
  });
  return code + "\n";
}

/** Builds the modules that programs import: a directory for each module format, with types. */
export async function buildModules(out) {
  const esm = join(out, "esm");
  const cjs = join(out, "cjs");
  for (const dir of [esm, cjs]) rmSync(dir, { recursive: true, force: true });
  const tsc = join(root, "..", "node_modules", "typescript", "bin", "tsc");
  execFileSync(process.execPath, [tsc, "-p", join(root, "tsconfig.build.json"), "--outDir", esm], { stdio: "inherit" });
  cpSync(esm, cjs, { recursive: true }); // types only, so far
  for (const [dir, format, type] of [[esm, "esm", "module"], [cjs, "cjs", "commonjs"]]) {
    writeFileSync(join(dir, "package.json"), JSON.stringify({ type }) + "\n");
    for (const entry of entries) {
      writeFileSync(join(dir, entry + ".js"), await bundle(entry, { format, external: ["./share.js", "./index.js", "react"] }));
    }
  }
}

/** The files that are committed. */
export const committed = ["taskfeed.js", "share.js"];

/** Builds the file for script tags, and the module beside it. */
export async function buildScript(out) {
  mkdirSync(out, { recursive: true });
  const load = { // replaces load.ts by load.script.ts
    name: "load",
    setup: ({ onResolve }) => onResolve({ filter: /^\.\/load\.js$/ }, () => ({ path: join(root, "src", "load.script.ts") })),
  };
  writeFileSync(join(out, "taskfeed.js"), await bundle("script", { format: "iife", plugins: [load] }));
  writeFileSync(join(out, "share.js"), await bundle("share", { format: "esm" }));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const dist = join(root, "dist");
  await buildModules(dist);
  if (!process.argv.includes("--modules")) await buildScript(dist);
}
