// Checks the build: `node check.mjs`, after a build. A rebuild must give the committed
// bytes, and the files that every page loads must be small.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { buildScript, committed } from "./build.mjs";

/** The maximum size of what a page loads, compressed. */
const maxBytes = 7680;

const dist = join(dirname(fileURLToPath(import.meta.url)), "dist");

/** Returns the faults of dist, and the compressed sizes of its files. */
export async function check() {
  const size = (file) => gzipSync(readFileSync(join(dist, file)), { level: 9 }).length;
  const sizes = Object.fromEntries(["esm/index.js", "esm/share.js", "esm/react.js", ...committed].map((file) => [file, size(file)]));
  const faults = [];
  for (const file of ["esm/index.js", "taskfeed.js"]) {
    if (sizes[file] > maxBytes) faults.push(`${file} holds ${sizes[file]} bytes compressed; ${maxBytes} are allowed`);
  }
  const out = mkdtempSync(join(tmpdir(), "taskfeed-build-"));
  try {
    await buildScript(out);
    for (const file of committed) {
      if (!readFileSync(join(out, file)).equals(readFileSync(join(dist, file)))) {
        faults.push(`dist/${file} is not what the sources give: run make web and commit it`);
      }
    }
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
  return { faults, sizes };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { faults, sizes } = await check();
  for (const [file, size] of Object.entries(sizes)) console.log(`${file}: ${size} bytes compressed`);
  for (const fault of faults) console.error(fault);
  process.exitCode = faults.length ? 1 : 0;
}
