import { spawn, type ChildProcess } from "node:child_process";
import { createHmac } from "node:crypto";
import { inject } from "vitest";
import { Postgres, query } from "./postgres.js";
import { freePort, waitFor } from "./wait.js";

export const secret = "a secret of the browser tests, 32 bytes and more";

/** Signs a token, as the app's issuer would. */
export function token(user: string, { role, feeds, seconds = 3600 }: { role?: string; feeds?: string[]; seconds?: number } = {}): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const now = Math.floor(Date.now() / 1000);
  const head = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: user, role, feeds, iat: now, exp: now + seconds })}`;
  return `${head}.${createHmac("sha256", secret).update(head).digest("base64url")}`;
}

export const adminToken = (): string => token("admin", { role: "admin" });

/** A taskfeed server with a private Postgres. Both can be stopped and started again on the same ports. */
export class Server {
  #process: ChildProcess | undefined;
  #log = "";

  private constructor(readonly postgres: Postgres, readonly port: number, readonly args: readonly string[], readonly origins: string) {}

  /** Starts a server with or without the demo's workload; origins are the allowed origins. */
  static async start({ demo = false, origins = "" } = {}): Promise<Server> {
    const server = new Server(await Postgres.start(), await freePort(), demo ? ["dev"] : ["dev", "--no-demo"], origins);
    await server.postgres.sql("postgres", "CREATE DATABASE feed");
    await server.up();
    return server;
  }

  get base(): string { return `http://127.0.0.1:${this.port}`; }

  async up(): Promise<void> {
    this.#process = spawn(inject("binary"), this.args, {
      env: {
        PATH: process.env["PATH"], HOME: process.env["HOME"], DATABASE_URL: this.postgres.url("feed"), PORT: String(this.port),
        TASKFEED_JWT_SECRET: secret, TASKFEED_DRAIN: "200ms", TASKFEED_MAX_CONNECTIONS_PER_USER: "100",
        ...(this.origins && { TASKFEED_ALLOWED_ORIGINS: this.origins }),
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [this.#process.stdout!, this.#process.stderr!]) stream.on("data", (chunk) => { this.#log += chunk; });
    await waitFor("the server is ready", async () => {
      if (this.#process!.exitCode !== null) throw new Error("taskfeed ended:\n" + this.#log);
      return fetch(this.base + "/readyz").then((r) => r.ok, () => false);
    }).catch((error) => { throw new Error(`${error.message}\n${this.#log}`); });
  }

  async down(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
    if (this.#log.includes("DATA RACE")) throw new Error("the server has a data race:\n" + this.#log);
  }

  async remove(): Promise<void> {
    await this.down("SIGKILL");
    await this.postgres.remove();
  }

  sql(statement: string): Promise<Record<string, any>[]> {
    return query(this.postgres.url("feed"), statement);
  }

  /** Sends a request to the API as an admin. */
  async api(path: string): Promise<any> {
    const answer = await fetch(this.base + path, { headers: { Authorization: "Bearer " + adminToken() } });
    return answer.json();
  }
}
