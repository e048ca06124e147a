import { execFile, spawn, type ChildProcess } from "node:child_process";
import { createHmac, randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const secret = randomBytes(32).toString("hex");

/** Signs a token, as the app's issuer would. */
export function token(user: string, seconds: number, role?: string): string {
  const now = Math.floor(Date.now() / 1000);
  const part = (claims: object): string => Buffer.from(JSON.stringify(claims)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: user, iat: now, exp: now + seconds, role })}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

/** A real taskfeed with a private Postgres, in a directory that is removed at the end. */
export class RealTaskfeed {
  readonly dir = mkdtempSync(join(tmpdir(), "taskfeed-js-"));
  readonly #running = new Set<ChildProcess>();
  #bin = "";
  /** Of the database. */
  databaseURL = "";
  /** Of the server that has the private Postgres. */
  url = "";

  /** Builds the program, unless TASKFEED_BIN names one, and starts it. */
  async start(): Promise<void> {
    chmodSync(this.dir, 0o755); // Postgres runs as another user than root
    this.#bin = process.env.TASKFEED_BIN ?? await this.#build();
    const output = await this.#run(["dev", "--dir", join(this.dir, "pg"), "--no-demo"], { PORT: "0" }, /psql +psql "([^"]+)"/);
    this.databaseURL = output[1]!;
    this.url = /page +(http:\/\/[^/]+)/.exec(output.input!)![1]!;
  }

  async #build(): Promise<string> {
    const bin = join(this.dir, "taskfeed");
    await promisify(execFile)("go", ["build", "-o", bin, "./cmd/taskfeed"], { cwd: new URL("../../../..", import.meta.url) });
    return bin;
  }

  /** Starts another server of the same database, and returns a function that stops it. */
  async serve(port: number): Promise<() => Promise<void>> {
    const env = { DATABASE_URL: this.databaseURL, PORT: String(port), TASKFEED_ADDR: "127.0.0.1", TASKFEED_DRAIN: "100ms", TASKFEED_LOG_LEVEL: "info" };
    const before = new Set(this.#running);
    await this.#run(["serve"], env, undefined, `http://127.0.0.1:${port}/healthz`);
    const child = [...this.#running].find((c) => !before.has(c))!;
    return () => this.#end(child);
  }

  /** Runs the program until it has printed the awaited text, or answers at the URL. */
  async #run(args: string[], env: NodeJS.ProcessEnv, printed?: RegExp, ready?: string): Promise<RegExpExecArray> {
    const child = spawn(this.#bin, args, { env: { PATH: process.env.PATH, TASKFEED_JWT_SECRET: secret, ...env } });
    this.#running.add(child);
    let out = "";
    let log = "";
    child.stdout.on("data", (data) => { out += data; });
    child.stderr.on("data", (data) => { log += data; });
    for (let i = 0; i < 1200; i++) { // a minute: other programs may have the machine
      const match = printed?.exec(out) ?? null;
      if (match) return match;
      if (ready && await fetch(ready).then((r) => r.ok, () => false)) return /^/.exec("")!;
      if (child.exitCode !== null) break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`taskfeed ${args[0]} did not start: ${log || out}`);
  }

  async #end(child: ChildProcess): Promise<void> {
    if (child.exitCode === null && child.signalCode === null) {
      const exit = once(child, "exit");
      child.kill("SIGTERM");
      await exit;
    }
    this.#running.delete(child);
  }

  async stop(): Promise<void> {
    for (const child of [...this.#running].reverse()) await this.#end(child);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Returns a free port. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
