import pg from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { WebSocket } from "ws";
import { applyEvent, TaskFeed, TaskWebSocket, type FeedOptions, type FeedEvent, type Task, type Tasks, type WebSocketClass } from "../src/index.js";
import { isFrame } from "./support/schema.js";
import { freePort, RealTaskfeed, token } from "./support/taskfeed.js";

// The client and a real taskfeed with a real Postgres.

const taskfeed = new RealTaskfeed();
let db: pg.Client;
const feeds: TaskFeed<any>[] = [];

beforeAll(async () => {
  await taskfeed.start();
  db = new pg.Client(taskfeed.databaseURL);
  await db.connect();
}, 120_000);

afterEach(async () => {
  for (const feed of feeds.splice(0)) await feed.close();
});

afterAll(async () => {
  await db?.end();
  await taskfeed.stop();
}, 30_000);

const until = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 20_000, interval: 5 });

interface Reader { feed: TaskFeed; events: FeedEvent[]; asks: string[] }

function read(user: string, more?: Partial<FeedOptions>): Reader {
  const reader: Reader = { feed: undefined!, events: [], asks: [] };
  reader.feed = new TaskFeed({
    url: taskfeed.url, userId: user, WebSocket: WebSocket as unknown as WebSocketClass, transports: ["websocket"], backoff: { min: 50, max: 500 },
    getToken: ({ reason }) => { reader.asks.push(reason); return token(user, 3600); }, ...more,
  });
  reader.feed.on("event", (e) => { reader.events.push(e); });
  feeds.push(reader.feed);
  return reader;
}

const insert = (user: string, id: string): Promise<unknown> =>
  db.query("INSERT INTO taskfeed.tasks (id, user_id, kind, status) VALUES ($1, $2, 'render', 'queued')", [id, user]);

const set = (id: string, columns: string): Promise<unknown> => db.query(`UPDATE taskfeed.tasks SET ${columns} WHERE id = $1`, [id]);

/** Makes n events of one task. */
const work = async (id: string, from: number, n: number): Promise<void> => {
  for (let i = from; i < from + n; i++) await set(id, `message = 'step ${i}'`);
};

const steps = (reader: Reader): (string | null | undefined)[] => reader.events.flatMap((e) => (e.type === "task_progress" ? [e.message] : []));
const stepsUpTo = (n: number): string[] => Array.from({ length: n }, (_, i) => `step ${i + 1}`);

describe.each(["websocket", "sse"] as const)("over %s", (transport) => {
  const transports = [transport];

  test("a task's life in SQL arrives as events", async () => {
    const user = `life-${transport}`;
    const reader = read(user, { transports });
    let tasks: Tasks = new Map();
    reader.feed.on("event", (e) => { tasks = applyEvent(tasks, e); });
    await reader.feed.ready();
    await insert(user, user);
    await set(user, "status = 'running'");
    await set(user, "progress = 40, message = 'half'");
    await set(user, `status = 'completed', progress = 100, message = null, result = '{"count": 5}'`);
    await until(() => expect(reader.events).toHaveLength(4));
    expect(reader.events).toMatchObject([
      { type: "task_queued", task_id: user, kind: "render", progress: 0, version: 1 },
      { type: "task_started", version: 2 },
      { type: "task_progress", version: 3, progress: 40, message: "half" },
      { type: "task_completed", version: 4, progress: 100, result: { count: 5 } },
    ]);
    for (const e of reader.events) expect([e, await isFrame(e), isFrame.errors]).toEqual([e, true, null]);
    expect(tasks.get(user)).toMatchObject({ id: user, kind: "render", status: "completed", progress: 100, result: { count: 5 }, version: 4 });
    await db.query("DELETE FROM taskfeed.tasks WHERE id = $1", [user]);
    await until(() => expect(reader.events.at(-1)!.type).toBe("task_deleted"));
    expect(tasks.size).toBe(0);
  });

  test("what was missed is replayed, and each event comes once", async () => {
    const user = `missed-${transport}`;
    await insert(user, user);
    await work(user, 1, 5);
    const reader = read(user, { transports, after: 0 });
    await reader.feed.ready();
    await until(() => expect(steps(reader)).toEqual(stepsUpTo(5)));
    await reader.feed.close();
    await work(user, 6, 5);
    await reader.feed.ready();
    await work(user, 11, 5);
    await until(() => expect(steps(reader)).toEqual(stepsUpTo(15)));
    const ids = reader.events.map(({ id }) => id);
    expect(ids).toEqual([...new Set(ids)].sort((a, b) => a - b));
  });

  test("a cursor ahead of the log is reset", async () => {
    const reader = read(`ahead-${transport}`, { transports, after: Number.MAX_SAFE_INTEGER });
    const resets: unknown[] = [];
    reader.feed.on("reset", ({ reason }) => { resets.push(reason); });
    await reader.feed.ready();
    expect(resets).toEqual(["ahead"]);
    await insert(`ahead-${transport}`, `ahead-${transport}`);
    await until(() => expect(reader.events).toHaveLength(1));
  });

  test("what an operator has closed stays closed", async () => {
    const user = `closed-${transport}`;
    const reader = read(user, { transports });
    const ended = new Promise((resolve) => reader.feed.on("state", ({ state, error }) => { if (state === "closed") resolve(error); }));
    await reader.feed.ready();
    const answer = await fetch(`${taskfeed.url}/v1/users/${user}/connections`, {
      method: "DELETE", headers: { Authorization: `Bearer ${token("root", 60, "admin")}` },
    });
    expect(answer.ok).toBe(true);
    expect(await ended).toMatchObject({ code: "disconnected", closeCode: 4011 });
  });

  test("the tasks and the feed after their cursor make a whole", async () => {
    const user = `whole-${transport}`;
    for (let i = 0; i < 5; i++) await insert(user, `${user}-${i}`);
    let tasks: Tasks = new Map();
    const { feed } = read(user, {
      transports,
      loadSnapshot: async () => {
        const answer = await fetch(`${taskfeed.url}/v1/me/tasks`, { headers: { Authorization: `Bearer ${token(user, 60)}` } });
        const { items, cursor } = await answer.json() as { items: Task[]; cursor: number };
        await insert(user, `${user}-late`); // between the snapshot and the feed
        return { tasks: items, cursor };
      },
    });
    feed.on("snapshot", (s) => { tasks = new Map(s.tasks.map((t) => [t.id, t])); });
    feed.on("event", (e) => { tasks = applyEvent(tasks, e); });
    await feed.ready();
    await set(`${user}-0`, "status = 'running', progress = 7");
    await until(() => expect(tasks.get(`${user}-0`)).toMatchObject({ status: "running", progress: 7 }));
    expect([...tasks.keys()].sort()).toEqual([0, 1, 2, 3, 4, "late"].map((i) => `${user}-${i}`));
  });

  test("a token that is refused twice ends the feed", async () => {
    const asks: string[] = [];
    const reader = read("refused", { transports, getToken: ({ reason }) => { asks.push(reason); return token("refused", -3600); } });
    await expect(reader.feed.ready()).rejects.toMatchObject({ name: "TokenRejected", code: "rejected" });
    expect(asks).toEqual(["initial", "rejected"]);
  });
});

test("a restart of the server loses nothing and doubles nothing", async () => {
  const port = await freePort();
  let stop = await taskfeed.serve(port);
  await insert("restart", "restart");
  const reader = read("restart", { url: `http://127.0.0.1:${port}`, after: 0 });
  let lost = 0;
  reader.feed.on("state", ({ state }) => { if (state === "waiting") lost++; });
  await reader.feed.ready();
  await work("restart", 1, 3);
  await until(() => expect(steps(reader)).toEqual(stepsUpTo(3)));
  await stop();
  await work("restart", 4, 3);
  stop = await taskfeed.serve(port);
  await work("restart", 7, 3);
  await until(() => expect(steps(reader)).toEqual(stepsUpTo(9)));
  expect(lost).toBeGreaterThan(0);
  expect(reader.asks).toEqual(["initial"]);
  await reader.feed.close();
  await stop();
});

test("a token is renewed over the open connection", async () => {
  const asks: string[] = [];
  const reader = read("renew", { getToken: ({ reason }) => { asks.push(reason); return token("renew", asks.length === 1 ? 3 : 3600); } });
  const states: string[] = [];
  reader.feed.on("state", ({ state }) => { states.push(state); });
  await reader.feed.ready();
  await until(() => expect(asks).toEqual(["initial", "expired"]));
  await insert("renew", "renew");
  await until(() => expect(reader.events).toHaveLength(1));
  expect(states).toEqual(["connecting", "replaying", "live"]);
});

test("another user's token ends the feed", async () => {
  const reader = read("mine", { getToken: () => token("yours", 60) });
  await expect(reader.feed.ready()).rejects.toMatchObject({ code: "forbidden", closeCode: 4003 });
});

test("users see their own events and broadcasts alone", async () => {
  const [alice, bob] = [read("alice"), read("bob")];
  await Promise.all([alice.feed.ready(), bob.feed.ready()]);
  await db.query("SELECT taskfeed.notify('alice', 'hello', '{\"n\": 1}')");
  await db.query("SELECT taskfeed.broadcast('news', '{\"text\": \"é\\u2028😀\"}')");
  await until(() => expect([alice.events.length, bob.events.length]).toEqual([2, 1]));
  expect(alice.events).toMatchObject([{ type: "hello", n: 1 }, { type: "news", text: "é\u2028😀" }]);
  for (const e of alice.events) expect([await isFrame(e), isFrame.errors]).toEqual([true, null]);
});

test("the older client's API", async () => {
  const ws = new TaskWebSocket("older", token("older", 60), { url: taskfeed.url, WebSocket: WebSocket as unknown as WebSocketClass });
  feeds.push(ws);
  const results: unknown[] = [];
  ws.on("task_completed", (e) => { results.push(e.result); });
  ws.connect();
  await until(() => expect(ws.state).toBe("live"));
  await insert("older", "older");
  await set("older", "status = 'completed', result = '1'");
  await until(() => expect(results).toEqual([1]));
});

test("a client that knows no cursors gets what it missed", async () => {
  const seen: unknown[] = [];
  const pongs: string[] = [];
  const open = async (): Promise<WebSocket> => {
    const ws = new WebSocket(`${taskfeed.url.replace("http", "ws")}/ws/plain?client=web&token=${token("plain", 60)}`);
    ws.on("message", (data) => {
      const message = String(data);
      if (message === "pong") { pongs.push(message); return; }
      const event = JSON.parse(message) as { type: string; n?: number };
      if (event.type === "mail") seen.push(event.n); // by type: what it does not know it ignores
    });
    await new Promise((resolve, reject) => { ws.once("open", resolve); ws.once("error", reject); });
    ws.send("ping");
    return ws;
  };
  const connect = (): Promise<WebSocket> => vi.waitFor(open, { timeout: 20_000, interval: 100 }); // the server may still start
  const mail = (n: number): Promise<unknown> => db.query("SELECT taskfeed.notify('plain', 'mail', jsonb_build_object('n', $1::int))", [n]);
  const web = async (): Promise<{ connected: boolean; deliveries: unknown[] }> => {
    const answer = await fetch(`${taskfeed.url}/v1/me/clients`, { headers: { Authorization: `Bearer ${token("plain", 60)}` } });
    return (await answer.json() as { items: [{ connected: boolean; deliveries: unknown[] }] }).items[0];
  };
  const first = await connect();
  await until(() => expect(pongs).toHaveLength(1));
  await mail(1);
  await until(() => expect(seen).toEqual([1]));
  await vi.waitFor(async () => expect((await web()).deliveries).not.toEqual([]), { timeout: 20_000, interval: 50 });
  first.close();
  await vi.waitFor(async () => expect((await web()).connected).toBe(false), { timeout: 20_000, interval: 50 });
  await mail(2);
  await mail(3);
  const second = await connect();
  await mail(4);
  await until(() => expect(seen).toEqual([1, 2, 3, 4]));
  second.close();
});
