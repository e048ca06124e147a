// Libraries of job queues work on a table that is attached. A client sees what the library has on record.
import { execFileSync } from "node:child_process";
import { EventEmitter } from "node:events";
import { Logger, makeWorkerUtils, runOnce, type WorkerEvents } from "graphile-worker";
import PgBoss from "pg-boss";
import { WebSocket } from "ws";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { Server, token } from "../support/server.js";
import { waitFor } from "../support/wait.js";

const jobs = 200;
let server: Server;
let connectionString: string;

beforeAll(async () => {
  server = await Server.start();
  connectionString = server.postgres.url("feed").replace("?sslmode=disable", "");
});
afterAll(() => server?.remove());

function attach(...args: string[]): string {
  return execFileSync(inject("binary"), ["attach", ...args], { env: { PATH: process.env["PATH"], DATABASE_URL: server.postgres.url("feed") }, encoding: "utf8" });
}

/** Follows the feed of a user. The second event of an app ends it. */
function follow(user: string): { socket: WebSocket; seen: Map<string, string[]>; done: () => Promise<void> } {
  const socket = new WebSocket(`${server.base.replace("http", "ws")}/ws/${user}?after=0&token=${token(user)}`);
  const seen = new Map<string, string[]>();
  let ended = false;
  socket.on("message", (data) => {
    const { type, task_id: id, error, result } = JSON.parse(String(data));
    if (type === "done") ended = true;
    if (!id) return;
    const line = [type, error && JSON.stringify(error), result && JSON.stringify(result)].filter(Boolean).join(" ");
    seen.set(id, [...(seen.get(id) ?? []), line]);
  });
  const done = async (): Promise<void> => {
    await server.sql(`SELECT taskfeed.notify('${user}', 'done', '{}')`);
    await waitFor("the feed has all", async () => ended);
    socket.close();
  };
  return { socket, seen, done };
}

const sorted = (map: Map<string, string[]>): [string, string[]][] => [...map].sort(([a], [b]) => (a < b ? -1 : 1));

test("pg-boss: what a user sees is what pg-boss has on record", async () => {
  const boss = new PgBoss({ connectionString, schedule: false, supervise: false, archiveCompletedAfterSeconds: 1, archiveFailedAfterSeconds: 1 });
  boss.on("error", () => {});
  await boss.start();
  try {
    await boss.createQueue("export", { name: "export", policy: "standard", retryLimit: 1, retryDelay: 0 });
    expect(attach("pg-boss", "--user", "data->>'userId'", "--with", "error,result")).toContain("which this program knows");
    const feed = follow("alice");
    await boss.insert(Array.from({ length: jobs }, (_, n) => ({ name: "export", data: { userId: "alice", n }, retryLimit: 1, retryDelay: 0 })));
    const canceled = await server.sql(`SELECT id FROM pgboss.job WHERE (data->>'n')::int % 4 = 3`);
    await boss.cancel("export", canceled.map((row) => row["id"]));

    for (let batch; (batch = await boss.fetch<{ n: number }>("export", { batchSize: 40, includeMetadata: true }))?.length;) {
      const over = batch.filter((job) => job.data.n % 4 === 0 || (job.data.n % 4 === 1 && job.retryCount > 0));
      for (const job of over.slice(0, 5)) await boss.complete("export", job.id, { rows: job.data.n });
      if (over.length > 5) await boss.complete("export", over.slice(5).map((job) => job.id));
      const failed = batch.filter((job) => !over.includes(job)).map((job) => job.id);
      if (failed.length > 0) await boss.fail("export", failed, { message: "no disk", stack: "Error: no disk\n  at export.ts" } as object);
    }
    const record = new Map<string, string[]>();
    for (const row of await server.sql(`SELECT id, state::text, retry_count, output, started_on IS NOT NULL AS started FROM pgboss.job`)) {
      const story = ["task_queued"];
      for (let n = 0; n < row["retry_count"]; n++) story.push("task_started", "task_queued");
      if (row["started"]) story.push("task_started");
      story.push({
        completed: "task_completed" + (row["output"] ? " " + JSON.stringify(row["output"]) : ""), failed: `task_failed "no disk"`, cancelled: "task_canceled",
      }[row["state"] as string] ?? row["state"]);
      record.set(row["id"], story);
    }
    expect(record.size).toBe(jobs);
    await waitFor("pg-boss has cleaned up", async () => { // it moves them to its archive
      await boss.maintain();
      return (await server.sql("SELECT count(*)::int AS n FROM pgboss.job"))[0]!["n"] === 0;
    });
    await feed.done();
    expect(sorted(feed.seen)).toEqual(sorted(record));
  } finally {
    await boss.stop({ wait: true });
  }
});

test("Graphile Worker: what a user sees is what it tells of its jobs", async () => {
  const logger = new Logger(() => () => {});
  const utils = await makeWorkerUtils({ connectionString, logger });
  try {
    await utils.migrate();
    expect(attach("graphile-worker", "--user", "payload->>'user_id'", "--with", "error")).toContain("which this program knows");
    const feed = follow("bob");
    const record = new Map<string, string[]>();
    const tell = (job: { id: string }, what: string): void => { record.get("graphile_worker:" + job.id)!.push(what); };
    const added = await utils.withPgClient((pg) => pg.query<{ id: string; n: number }>(
      `SELECT (graphile_worker.add_job('export', json_build_object('user_id', 'bob', 'n', n), max_attempts := 2)).id::text AS id, n FROM generate_series(0, ${jobs - 1}) AS n`));
    for (const row of added.rows) record.set("graphile_worker:" + row.id, ["task_queued"]);
    const unwanted = added.rows.filter((row) => row.n % 4 === 3);
    await utils.completeJobs(unwanted.map((row) => row.id)); // deletes jobs that do not run
    for (const row of unwanted) tell(row, "task_canceled");

    const events: WorkerEvents = new EventEmitter();
    const last = (job: { attempts: number; max_attempts: number }): boolean => job.attempts >= job.max_attempts;
    events.on("job:start", ({ job }) => tell(job, "task_started"));
    events.on("job:success", ({ job }) => tell(job, "task_completed"));
    events.on("job:error", ({ job }) => { if (!last(job)) tell(job, "task_queued"); });
    events.on("job:failed", ({ job }) => tell(job, `task_failed "no disk"`));
    const work = (): Promise<void> => runOnce({
      connectionString, logger, events, concurrency: 5, noHandleSignals: true,
      taskList: { export: async (payload, { job }) => { if ((payload as { n: number }).n % 4 === 2 || ((payload as { n: number }).n % 4 === 1 && job.attempts === 1)) throw new Error("no disk"); } },
    });
    await work();
    await utils.rescheduleJobs(added.rows.filter((row) => row.n % 4 === 1 || row.n % 4 === 2).map((row) => row.id), { runAt: new Date() });
    await work();
    await feed.done();
    expect(sorted(feed.seen)).toEqual(sorted(record));
    expect((await server.sql("SELECT count(*)::int AS n FROM graphile_worker._private_jobs"))[0]!["n"]).toBe(jobs / 4); // those that failed
  } finally {
    await utils.release();
  }
});
