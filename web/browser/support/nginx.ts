import { execFileSync, spawn } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort, waitFor } from "./wait.js";

/** The files that operators copy. */
const recipes = join(import.meta.dirname, "../../../deploy/proxies");

/** Replaces a text that a test has to change; throws when the recipe no longer has it. */
function adapt(text: string, changes: [from: string, to: string][]): string {
  for (const [from, to] of changes) {
    if (text.split(from).length !== 2) throw new Error(`the recipe for nginx has not exactly one "${from}"`);
    text = text.replace(from, to);
  }
  return text;
}

/** The recipe for the root or below a prefix, in front of one server. */
function configuration(where: "root" | "prefix", port: number, upstream: number): string {
  const recipe = readFileSync(join(recipes, where === "root" ? "nginx.conf" : "nginx-prefix.conf"), "utf8");
  return adapt(recipe, [
    ["server 10.0.0.11:8080;", `server 127.0.0.1:${upstream};`],
    ["    server 10.0.0.12:8080;\n", ""],
    ["listen 443 ssl;", `listen 127.0.0.1:${port};`],
  ]);
}

export interface Nginx {
  base: string;
  close: () => Promise<void>;
}

/** Starts the real nginx with a recipe. */
export async function startNginx(where: "root" | "prefix", upstream: number): Promise<Nginx> {
  const program = execFileSync(join(import.meta.dirname, "../setup"), ["nginx"], { encoding: "utf8" }).trim();
  const dir = mkdtempSync(join(tmpdir(), "taskfeed-nginx-"));
  chmodSync(dir, 0o755); // started by root, its workers run as another user
  const port = await freePort();
  const places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${dir}/${name};`);
  writeFileSync(join(dir, "nginx.conf"), `daemon off; worker_processes 1; pid ${dir}/pid; error_log stderr warn;
events {}
http {
access_log off; ${places.join(" ")}
${configuration(where, port, upstream)}}
`);
  const child = spawn(program, ["-p", dir, "-c", join(dir, "nginx.conf"), "-e", "stderr"], { stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  child.stderr.on("data", (data) => { log += data; });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const close = async (): Promise<void> => {
    child.kill("SIGTERM");
    await ended;
    rmSync(dir, { recursive: true, force: true });
  };
  await waitFor("nginx listens", () => {
    if (child.exitCode !== null) throw new Error("nginx ended:\n" + log);
    return new Promise((resolve) => {
      const socket = connect(port, "127.0.0.1", () => resolve(true)).on("error", () => resolve(false)).on("connect", () => socket.destroy());
    });
  });
  return { base: `http://127.0.0.1:${port}${where === "prefix" ? "/feed" : ""}`, close };
}
