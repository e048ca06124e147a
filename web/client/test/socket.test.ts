import { readFileSync } from "node:fs";
import { createContext, runInContext } from "node:vm";
import { expect, test, vi } from "vitest";
import { TaskFeed, TaskWebSocket } from "../src/index.js";
import { event, FakeNet, live, reset, settled } from "./support/fake.js";

// The API of the older client, which stays.

function fake(net: FakeNet): { url: string; WebSocket: typeof net.WebSocket; transports: ["websocket"] } {
  return { url: "http://taskfeed.test", WebSocket: net.WebSocket, transports: ["websocket"] };
}

test("user and token, handlers, connect, disconnect", async () => {
  const net = new FakeNet();
  const ws = new TaskWebSocket("alice", "secret-token", fake(net));
  expect(ws).toBeInstanceOf(TaskFeed);
  const results: unknown[] = [];
  const count = vi.fn();
  ws.on("task_completed", (e) => { results.push(e.result); });
  ws.on("task_completed", count);
  expect(net.sockets).toEqual([]);
  ws.connect();
  await settled();
  net.last.open().say(live(1), event(2, { type: "task_completed", result: { count: 5 } }));
  await settled();
  ws.off("task_completed", count);
  net.last.say(event(3, { type: "task_completed", result: 6 }));
  await settled();
  expect(net.last.url).toBe("ws://taskfeed.test/ws/alice?");
  expect(net.last.token).toBe("secret-token");
  expect(results).toEqual([{ count: 5 }, 6]);
  expect(count).toHaveBeenCalledTimes(1);
  await ws.disconnect();
  expect(net.last.closed).toBe(true);
});

test("an options object, and a function for the token", async () => {
  const first = new FakeNet();
  new TaskWebSocket({ userId: "alice", token: "t1", ...fake(first) }).connect();
  const second = new FakeNet();
  new TaskWebSocket("alice", async () => "t2", fake(second)).connect();
  const third = new FakeNet();
  new TaskWebSocket({ userId: "alice", getToken: () => "t3", ...fake(third) }).connect();
  await settled();
  expect([first, second, third].map(({ last }) => last.token)).toEqual(["t1", "t2", "t3"]);
});

test("a handler that throws is reported, and a reset is told, and both go on", async () => {
  const reported = vi.fn();
  vi.stubGlobal("reportError", reported);
  const net = new FakeNet();
  const ws = new TaskWebSocket("alice", "secret-token", { ...fake(net), after: 5 });
  const ids: number[] = [];
  ws.on("event", (e) => { ids.push(e.id); throw new Error(`bug ${e.id}`); });
  ws.connect();
  await settled();
  net.last.open().say(reset("expired", 100), event(101), event(102));
  await settled();
  expect(ids).toEqual([101, 102]);
  expect(reported).toHaveBeenCalledTimes(2);
  await ws.close();
});

test("a token that is refused twice ends it", async () => {
  const net = new FakeNet();
  const ws = new TaskWebSocket("alice", "secret-token", { ...fake(net), backoff: { random: () => 0 } });
  const codes: unknown[] = [];
  ws.on("state", ({ state, error }) => { if (state === "closed") codes.push(error?.code); });
  ws.connect();
  await settled();
  net.last.open().shut(4001);
  await settled();
  net.last.open().shut(4001);
  await settled();
  expect(codes).toEqual(["rejected"]);
});

test("the script tag's file makes the classes global, and its server is where it came from", async () => {
  const net = new FakeNet();
  const document = Object.assign(new EventTarget(), { currentScript: { src: "https://feed.example/prefix/sdk/taskfeed.js" } });
  const page: any = createContext({
    document, location: { href: "https://app.example/page" }, WebSocket: net.WebSocket, URL, URLSearchParams, AbortController, performance,
    setTimeout, clearTimeout, queueMicrotask, atob,
  });
  runInContext(readFileSync(new URL("../dist/taskfeed.js", import.meta.url), "utf8"), page);
  expect(Object.keys(page.taskfeed).sort()).toEqual(["TaskFeed", "TaskFeedError", "TaskWebSocket", "TokenRejected", "applyEvent", "localStorageCursor"]);
  expect(page.TaskFeed).toBe(page.taskfeed.TaskFeed);
  const ids = runInContext(`
    const ids = [];
    const ws = new TaskWebSocket("alice", "secret-token", { transports: ["websocket"] });
    ws.on("task_progress", (e) => { ids.push(e.id); });
    ws.connect();
    ids`, page);
  await settled();
  expect(net.last.url).toBe("wss://feed.example/prefix/ws/alice?");
  net.last.open().say(event(1));
  await settled();
  expect([...ids]).toEqual([1]);
  await runInContext("ws.close()", page);
});
