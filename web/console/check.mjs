// Checks the build: `node check.mjs`. A rebuild must give the committed bytes, and
// scripts and styles together must be small.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "vite";

/** The maximum size of the console, compressed. */
const maxBytes = 120 * 1024;

const root = dirname(fileURLToPath(import.meta.url));
const dist = join(root, "dist");

/** Returns the files below a directory with their content. */
const read = (dir) => new Map(readdirSync(dir, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath, entry.name))
  .map((file) => [file.slice(dir.length + 1), readFileSync(file)]));

const outDir = mkdtempSync(join(tmpdir(), "taskfeed-build-"));
try {
  await build({ root, logLevel: "warn", build: { outDir, emptyOutDir: true } });
  const [want, got] = [read(outDir), read(dist)];
  const names = [...new Set([...want.keys(), ...got.keys()])].sort();
  const stale = names.filter((name) => !got.get(name)?.equals(want.get(name) ?? Buffer.alloc(0)));
  const size = names.filter((name) => /\.(js|css)$/.test(name) && got.has(name))
    .reduce((sum, name) => sum + gzipSync(got.get(name), { level: 9 }).length, 0);
  console.log(`scripts and styles: ${size} bytes compressed`);
  const faults = [];
  if (stale.length) faults.push(`dist is not what the sources give: run make web and commit it (${stale.join(", ")})`);
  if (size > maxBytes) faults.push(`the console holds ${size} bytes compressed; ${maxBytes} are allowed`);
  for (const fault of faults) console.error(fault);
  process.exitCode = faults.length ? 1 : 0;
} finally {
  rmSync(outDir, { recursive: true, force: true });
}
