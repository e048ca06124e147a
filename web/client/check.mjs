// Checks what is built: `node check.mjs`, after a build. A rebuild must give the
// committed bytes of the script tag's file, and the core must be small.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { buildScript } from "./build.mjs";

/** The most that the core may hold, compressed. */
const maxBytes = 6 * 1024;

const dist = join(dirname(fileURLToPath(import.meta.url)), "dist");

/** Returns what is wrong with dist, and the sizes of its files, compressed. */
export async function check() {
  const size = (file) => gzipSync(readFileSync(join(dist, file)), { level: 9 }).length;
  const sizes = Object.fromEntries(["esm/index.js", "esm/share.js", "esm/react.js", "taskfeed.js"].map((file) => [file, size(file)]));
  const faults = [];
  if (sizes["esm/index.js"] > maxBytes) faults.push(`the core holds ${sizes["esm/index.js"]} bytes compressed; ${maxBytes} are allowed`);
  const out = mkdtempSync(join(tmpdir(), "taskfeed-build-"));
  try {
    await buildScript(out);
    if (!readFileSync(join(out, "taskfeed.js")).equals(readFileSync(join(dist, "taskfeed.js")))) {
      faults.push("dist/taskfeed.js is not what the sources give: run npm run build and commit it");
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
