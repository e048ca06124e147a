import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { freePort, waitFor } from "./wait.js";

/** The directory of Postgres's programs: from TASKFEED_PG_BIN, PATH, or the newest of Debian's. */
function binDir(): string {
  const debian = "/usr/lib/postgresql";
  const versions = existsSync(debian) ? readdirSync(debian).map(Number).filter(Boolean).sort((a, b) => b - a) : [];
  const places = [process.env["TASKFEED_PG_BIN"], ...(process.env["PATH"] ?? "").split(":"), ...versions.map((v) => join(debian, String(v), "bin"))];
  const found = places.find((dir) => dir && existsSync(join(dir, "initdb")) && existsSync(join(dir, "postgres")));
  if (!found) throw new Error("the browser tests need PostgreSQL: apt-get install postgresql, or name its programs' directory by TASKFEED_PG_BIN");
  return found;
}

/** The account for Postgres when this process is root, which Postgres refuses: postgres, or nobody. */
function owner(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const user = readFileSync("/etc/passwd", "utf8").split("\n").some((line) => line.startsWith("postgres:")) ? "postgres" : "nobody";
  const id = (what: string): number => Number(execFileSync("id", [what, user], { encoding: "utf8" }));
  return { uid: id("-u"), gid: id("-g") };
}

/** A private Postgres that ends with the tests, with its data in memory where possible. */
export class Postgres {
  readonly #dir: string;
  #process: ChildProcess | undefined;

  constructor(readonly port: number) {
    this.#dir = mkdtempSync(join(tmpdir(), "taskfeed-browser-"));
    const { uid, gid } = owner();
    if (uid !== undefined) chownSync(this.#dir, uid, gid!);
    mkdirSync(join(this.#dir, "data"), { mode: 0o700 });
    if (uid !== undefined) chownSync(join(this.#dir, "data"), uid, gid!);
  }

  static async start(): Promise<Postgres> {
    const postgres = new Postgres(await freePort());
    execFileSync(join(binDir(), "initdb"),
      ["-D", join(postgres.#dir, "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
      { ...owner(), cwd: postgres.#dir, env: { PATH: process.env["PATH"], LC_ALL: "C.UTF-8" }, stdio: "pipe" });
    await postgres.up();
    return postgres;
  }

  async up(): Promise<void> {
    this.#process = spawn(join(binDir(), "postgres"), [
      "-D", join(this.#dir, "data"), "-k", this.#dir, "-h", "127.0.0.1", "-p", String(this.port), "-c", "fsync=off",
    ], { ...owner(), cwd: this.#dir, env: { PATH: process.env["PATH"], LC_ALL: "C.UTF-8", TZ: "UTC" }, stdio: "ignore" });
    await waitFor("Postgres answers", () => this.sql("postgres", "SELECT 1").then(() => true, () => false));
  }

  /** A fast, orderly stop: it ends sessions instead of waiting for them. */
  async down(): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGINT");
    await ended;
  }

  async remove(): Promise<void> {
    await this.down();
    rmSync(this.#dir, { recursive: true, force: true });
  }

  url(database: string): string {
    return `postgres://postgres@127.0.0.1:${this.port}/${database}?sslmode=disable`;
  }

  async sql(database: string, statement: string): Promise<Record<string, any>[]> {
    return query(this.url(database), statement);
  }
}

/** Runs statements on a new connection, and returns the rows of the last. */
export async function query(url: string, statement: string): Promise<Record<string, any>[]> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 5000 });
  client.on("error", () => {}); // the server may restart meanwhile
  await client.connect();
  try {
    const result = await client.query(statement);
    return (Array.isArray(result) ? result.at(-1) : result).rows;
  } finally {
    await client.end().catch(() => {});
  }
}
