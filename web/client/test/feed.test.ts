import { describe, expect, test, vi } from "vitest";
import { TaskFeed, TaskFeedError, type FeedEvent, type FeedOptions, type State, type StateChange } from "../src/index.js";
import { event, FakeNet, gate, live, reset, settled } from "./support/fake.js";

function start(more?: Partial<FeedOptions>): { net: FakeNet; feed: TaskFeed; states: State[]; ends: StateChange[]; saved: number[] } {
  const net = new FakeNet();
  const saved: number[] = [];
  const feed = new TaskFeed(net.options({ cursorStore: { load: () => undefined, save: (c) => { saved.push(c); } }, ...more }));
  const states: State[] = [];
  const ends: StateChange[] = [];
  feed.on("state", (change) => {
    states.push(change.state);
    if (change.state === "closed") ends.push(change);
  });
  return { net, feed, states, ends, saved };
}

/** Connects the feed and opens its first connection. */
async function opened(feed: TaskFeed<any>, net: FakeNet): Promise<void> {
  feed.connect();
  await settled();
  net.last.open();
}

describe("handlers", () => {
  test("several of a type, the type's after those of every event, in the order in which they came", async () => {
    const { net, feed } = start();
    const calls: string[] = [];
    feed.on("task_completed", () => calls.push("first"));
    feed.on("task_completed", () => calls.push("second"));
    feed.on("event", (e) => calls.push("every " + e.type));
    await opened(feed, net);
    net.last.say(event(1), event(2, { type: "task_completed", result: 1 }));
    await settled();
    expect(calls).toEqual(["every task_progress", "every task_completed", "first", "second"]);
  });

  test("what on returns ends the handler, and so does off", async () => {
    const { net, feed } = start();
    const calls: string[] = [];
    const off = feed.on("event", () => calls.push("a"));
    const b = (): void => void calls.push("b");
    feed.on("event", b);
    await opened(feed, net);
    net.last.say(event(1));
    await settled();
    off();
    feed.off("event", b);
    net.last.say(event(2));
    await settled();
    expect(calls).toEqual(["a", "b"]);
    expect(feed.cursor).toBe(2);
  });

  test("the next event and the saving of the cursor wait for a handler's promise", async () => {
    const { net, feed, saved } = start();
    const first = gate();
    const calls: string[] = [];
    feed.on("event", async (e) => {
      calls.push(`begin ${e.id}`);
      if (e.id === 1) await first.opened;
      calls.push(`end ${e.id}`);
    });
    feed.on("event", (e) => calls.push(`other ${e.id}`));
    await opened(feed, net);
    net.last.say(event(1), event(2));
    await settled();
    expect(calls).toEqual(["begin 1"]);
    expect(saved).toEqual([]);
    expect(feed.cursor).toBe(undefined);
    first.open();
    await settled();
    expect(calls).toEqual(["begin 1", "end 1", "other 1", "begin 2", "end 2", "other 2"]);
    expect(saved).toEqual([1, 2]);
  });

  test("an app's own event named like a signal goes to the handlers of every event alone", async () => {
    const { net, feed } = start();
    const got: unknown[] = [];
    for (const type of ["state", "reset", "gap", "snapshot"]) feed.on(type, (x) => got.push([type, x]));
    const every: unknown[] = [];
    feed.on("event", (e) => every.push(e.type));
    await opened(feed, net);
    const before = got.length;
    net.last.say(...["state", "reset", "gap", "snapshot", "event"].map((type, i) => event(i + 1, { type })));
    await settled();
    expect(every).toEqual(["state", "reset", "gap", "snapshot", "event"]);
    expect(got.slice(before)).toEqual([]);
  });

  test("one that throws ends the feed, and its event comes again with the next connect", async () => {
    const { net, feed, ends, saved } = start({ after: 0, cursorStore: undefined });
    const bug = new Error("bug");
    let broken = true;
    const ids: number[] = [];
    feed.on("event", (e) => {
      ids.push(e.id);
      if (broken && e.id === 2) throw bug;
    });
    await opened(feed, net);
    net.last.say(event(1), event(2), event(3));
    await settled();
    expect(ends).toMatchObject([{ error: { code: "handler", cause: bug } }]);
    expect(ends[0]!.error).toBeInstanceOf(TaskFeedError);
    expect(feed.cursor).toBe(1);
    expect(net.last.closed).toBe(true);
    broken = false;
    await opened(feed, net);
    expect(net.last.after).toBe("1");
    net.last.say(event(2), event(3));
    await settled();
    expect(ids).toEqual([1, 2, 2, 3]);
    expect(saved).toEqual([]);
  });

  test("a rejected promise ends the feed as well", async () => {
    const { net, feed, ends } = start();
    feed.on("event", async () => { throw new Error("bug"); });
    await opened(feed, net);
    net.last.say(event(1));
    await settled();
    expect(ends).toMatchObject([{ error: { code: "handler" } }]);
  });

  test("onHandlerError may take the error upon itself", async () => {
    const errors: unknown[] = [];
    const { net, feed, saved } = start({ onHandlerError: (error, value) => { errors.push([error, (value as FeedEvent).id]); } });
    feed.on("event", (e) => { if (e.id === 1) throw "bug"; });
    await opened(feed, net);
    net.last.say(event(1), event(2));
    await settled();
    expect(errors).toEqual([["bug", 1]]);
    expect(saved).toEqual([1, 2]);
  });

  test("onHandlerError that throws ends the feed", async () => {
    const { net, feed, ends } = start({ onHandlerError: (error) => { throw error; } });
    feed.on("event", () => { throw new Error("bug"); });
    await opened(feed, net);
    net.last.say(event(1));
    await settled();
    expect(ends).toMatchObject([{ error: { code: "handler" } }]);
  });

  test("one of state that throws harms nobody", async () => {
    const reported = vi.fn();
    vi.stubGlobal("reportError", reported);
    const { net, feed, states } = start({ onState: () => { throw new Error("bug"); } });
    await opened(feed, net);
    net.last.say(live(3));
    await settled();
    expect(states).toEqual(["connecting", "replaying", "live"]);
    expect(reported).toHaveBeenCalledTimes(3);
  });
});

describe("the cursor", () => {
  test("an event that comes twice is handed out once", async () => {
    const { net, feed, saved } = start();
    const ids: number[] = [];
    feed.on("event", (e) => ids.push(e.id));
    await opened(feed, net);
    net.last.say(event(5), event(5), event(4), event(6), event(5));
    await settled();
    expect(ids).toEqual([5, 6]);
    expect(saved).toEqual([5, 6]);
  });

  test("a saved one wins over after", async () => {
    const { net, feed } = start({ after: 3, cursorStore: { load: async () => 7, save: () => {} } });
    await opened(feed, net);
    expect(net.last.after).toBe("7");
    expect(feed.cursor).toBe(7);
  });

  test.each([["NaN", NaN], ["negative", -1], ["a text", "7"], ["too large", 2 ** 53]])("a stored one that is %s ends the feed", async (_, stored) => {
    const { net, feed, ends } = start({ cursorStore: { load: () => stored as number, save: () => {} } });
    feed.connect();
    await settled();
    expect(ends).toMatchObject([{ error: { code: "store" } }]);
    expect(net.sockets).toEqual([]);
  });

  test("a store that fails ends the feed", async () => {
    const full = new Error("quota");
    const { net, feed, ends } = start({ cursorStore: { load: () => null, save: async () => { throw full; } } });
    await opened(feed, net);
    net.last.say(event(1), event(2));
    await settled();
    expect(ends).toMatchObject([{ error: { code: "store", cause: full } }]);
  });
});

describe("connect and close", () => {
  test("connect twice makes one connection", async () => {
    const { net, feed } = start();
    feed.connect();
    await opened(feed, net);
    expect(net.sockets).toHaveLength(1);
  });

  test("ready is fulfilled when the replay is over", async () => {
    const { net, feed, states } = start({ after: 0 });
    let done = false;
    const ready = feed.ready().then(() => { done = true; });
    await settled();
    net.last.open().say(event(1));
    await settled();
    expect(done).toBe(false);
    net.last.say(live(1));
    await ready;
    expect(states).toEqual(["connecting", "replaying", "live"]);
    await feed.ready();
  });

  test("ready is rejected with the error that ends the feed", async () => {
    const { net, feed } = start();
    const ready = feed.ready();
    await settled();
    net.last.open().shut(4003, "the token belongs to another user");
    await expect(ready).rejects.toMatchObject({
      name: "TaskFeedError", code: "forbidden", closeCode: 4003,
      message: "the server closed the connection with 4003: the token belongs to another user",
    });
  });

  test("ready is rejected when the feed is closed", async () => {
    const { feed } = start();
    const ready = feed.ready();
    await feed.close();
    await expect(ready).rejects.toMatchObject({ code: "closed" });
  });

  test("close leaves what has not been handed out, and connect goes on there", async () => {
    const { net, feed, states } = start({ after: 0, cursorStore: undefined });
    const ids: number[] = [];
    feed.on("event", (e) => { ids.push(e.id); if (e.id === 1) void feed.close(); });
    await opened(feed, net);
    net.last.say(event(1), event(2));
    await settled();
    expect(ids).toEqual([1]);
    expect(states.at(-1)).toBe("closed");
    await opened(feed, net);
    expect(net.last.after).toBe("1");
    net.last.say(event(2), event(3));
    await settled();
    expect(ids).toEqual([1, 2, 3]);
  });

  test("a handler may wait for close", async () => {
    const { net, feed, ends, saved } = start();
    feed.on("event", async () => { await feed.close(); });
    await opened(feed, net);
    net.last.say(event(1));
    await settled();
    expect(ends).toEqual([{ state: "closed", error: undefined }]);
    expect(saved).toEqual([1]);
  });

  test("close from outside does not cut a handler short; connect meanwhile waits for it", async () => {
    const { net, feed, states, saved } = start({ after: 0 });
    const hold = gate();
    feed.on("event", () => hold.opened);
    await opened(feed, net);
    net.last.say(event(1), event(2));
    await settled();
    await feed.close();
    expect(states).toEqual(["connecting", "replaying"]);
    feed.connect();
    await settled();
    expect(net.sockets).toHaveLength(1);
    hold.open();
    await settled();
    expect(saved).toEqual([1]);
    expect(net.sockets).toHaveLength(2);
    expect(states).toEqual(["connecting", "replaying", "connecting"]);
  });

  test("close does not wait for a token that never comes", async () => {
    const { feed, states } = start({ getToken: () => new Promise(() => {}) });
    feed.connect();
    await settled();
    await feed.close();
    expect(states).toEqual(["connecting", "closed"]);
  });

  test("close while a snapshot is handed out opens no connection", async () => {
    const hold = gate();
    const { net, feed, states } = start({ loadSnapshot: () => ({ tasks: [], cursor: 4 }) });
    feed.on("snapshot", () => hold.opened);
    feed.connect();
    await settled();
    void feed.close();
    hold.open();
    await settled();
    expect(net.sockets).toEqual([]);
    expect(states).toEqual(["connecting", "closed"]);
  });

  test("an error that nobody listens for is reported", async () => {
    const reported = vi.fn();
    vi.stubGlobal("reportError", reported);
    const net = new FakeNet();
    const feed = new TaskFeed(net.options());
    await opened(feed, net);
    net.last.shut(4011);
    await settled();
    expect(reported).toHaveBeenCalledWith(expect.objectContaining({ code: "disconnected" }));
  });

  test("a WebSocket class that throws ends the feed with a typed error", async () => {
    const { feed, ends } = start({ WebSocket: class { constructor() { throw new DOMException("insecure", "SecurityError"); } } as never });
    feed.connect();
    await settled();
    expect(ends).toMatchObject([{ error: { name: "TaskFeedError", code: "config" } }]);
  });

  test("a binary message ends the feed", async () => {
    const { net, feed, ends } = start();
    await opened(feed, net);
    net.last.onmessage!({ data: new ArrayBuffer(1) });
    await settled();
    expect(ends).toMatchObject([{ error: { code: "protocol" } }]);
  });
});

describe("options", () => {
  const good = { url: "https://h", userId: "a", getToken: () => "t" };

  test("all that are wrong are named at once", () => {
    const wrong = { url: "ftp://h", userId: "", getToken: undefined as never, after: -1, types: ["a,b"], backoff: { min: 5, max: 1 }, transports: [] };
    const make = (): TaskFeed => new TaskFeed(wrong);
    expect(make).toThrow(TaskFeedError);
    for (const name of ["url", "userId", "getToken", "after", "types", "backoff.max", "transports"]) expect(make).toThrow(name);
  });

  test.each(["https://user:secret@h", "https://h/?x=1", "https://h/#x", "/relative", "h", "https://"])("url %s is refused, and not repeated", (url) => {
    expect(() => new TaskFeed({ ...good, url })).toThrow(/url must be/);
    expect(() => new TaskFeed({ ...good, url })).not.toThrow(/secret/);
  });

  test.each([
    ["http://h", "ws://h/ws/a"], ["https://h/", "wss://h/ws/a"], ["ws://h:81/p/q/", "ws://h:81/p/q/ws/a"], ["wss://h/a%2Fb", "wss://h/a%2Fb/ws/a"],
    ["https://http.example", "wss://http.example/ws/a"],
  ])("url %s leads to %s", async (url, want) => {
    const { net, feed } = start({ url, userId: "a" });
    feed.connect();
    await settled();
    expect(net.last.url.split("?")[0]).toBe(want);
  });

  test("a relative url is the page's", async () => {
    vi.stubGlobal("location", { href: "https://app.example/deep/page?x#y" });
    const first = start({ url: "/feed" });
    first.feed.connect();
    const second = start({ url: undefined });
    second.feed.connect();
    await settled();
    expect(first.net.last.url).toMatch(/^wss:\/\/app\.example\/feed\/ws\/alice/);
    expect(second.net.last.url).toMatch(/^wss:\/\/app\.example\/ws\/alice/);
  });

  test("the token goes in the subprotocol and never in the URL or an error", async () => {
    const { net, feed, ends } = start({ getToken: () => "secret-token" });
    await opened(feed, net);
    expect(net.last.protocols).toEqual(["taskfeed.v1", "bearer.secret-token"]);
    expect(net.last.url).not.toContain("secret");
    net.last.shut(4500, "no secret-token here");
    await settled();
    expect(ends[0]!.error!.message).toContain("[token]");
    expect(ends[0]!.error!.message).not.toContain("secret");
  });

  test.each([["empty", ""], ["of two words", "a b"], ["undefined", undefined], ["with a line feed inside", "a\nb"]])("a token that is %s ends the feed", async (_, token) => {
    const { net, feed, ends } = start({ getToken: () => token as string });
    feed.connect();
    await settled();
    expect(ends).toMatchObject([{ error: { code: "token" } }]);
    expect(net.sockets).toEqual([]);
  });
});

describe("snapshots", () => {
  const task = { id: "t1", status: "running", progress: 1, version: 3 } as const;

  test("one is read before the first connection, which begins at its cursor", async () => {
    const asks: string[] = [];
    const shown: unknown[] = [];
    const { net, feed, saved } = start({ loadSnapshot: async ({ reason }) => { asks.push(reason); return { tasks: [task], cursor: 40 }; } });
    feed.on("snapshot", (s) => shown.push(s));
    await opened(feed, net);
    expect(net.last.after).toBe("40");
    expect(shown).toEqual([{ tasks: [task], cursor: 40, reason: "start" }]);
    net.last.say(live(41));
    await settled();
    expect(asks).toEqual(["start"]);
    expect(saved).toEqual([40, 41]);
  });

  test("with a saved cursor, what was missed is replayed all the same", async () => {
    const { net, feed } = start({ after: 12, loadSnapshot: () => ({ tasks: [], cursor: 40 }) });
    await opened(feed, net);
    expect(net.last.after).toBe("12");
  });

  test("one without a cursor is read again when the feed is live, so that nothing is between", async () => {
    const order: string[] = [];
    const { net, feed } = start({ loadSnapshot: () => { order.push("load"); return { tasks: [] }; } });
    feed.on("state", ({ state }) => order.push(state));
    feed.on("event", (e) => order.push(`event ${e.id}`));
    await opened(feed, net);
    expect(net.last.after).toBe(null);
    net.last.say(live(7), event(8));
    await settled();
    expect(order).toEqual(["connecting", "load", "replaying", "load", "live", "event 8"]);
    net.last.shut(1012);
    await vi.waitFor(() => expect(net.sockets).toHaveLength(2));
    expect(order.filter((x) => x === "load")).toHaveLength(2);
  });

  test("one that fails is tried again, and the feed does not connect before", async () => {
    let fail = true;
    const { net, feed, states } = start({
      backoff: { random: () => 0 },
      loadSnapshot: () => { if (fail) { fail = false; throw new Error("503"); } return { tasks: [], cursor: 1 }; },
    });
    await opened(feed, net);
    expect(states.slice(0, 3)).toEqual(["connecting", "waiting", "connecting"]);
    expect(net.sockets).toHaveLength(1);
  });

  test("a reset reads one, and the feed goes on from the snapshot's own cursor", async () => {
    const order: unknown[] = [];
    const { net, feed, saved } = start({
      after: 5,
      loadSnapshot: ({ reason }) => { order.push("load " + reason); return { tasks: [task], cursor: 105 }; },
    });
    feed.on("gap", (g) => order.push(g));
    feed.on("reset", (r) => order.push(r));
    feed.on("snapshot", (s) => order.push("snapshot " + s.reason));
    feed.on("event", (e) => order.push(e.id));
    await opened(feed, net);
    net.last.say(reset("expired", 100), event(101), event(105), event(106));
    await settled();
    expect(order).toEqual([
      "load start", "snapshot start", "load expired", { from: 5, to: 100 },
      { reason: "expired", from: 5, cursor: 100 }, "snapshot expired", 106,
    ]);
    expect(saved).toEqual([105, 106]);
    expect(feed.state).toBe("live");
  });

  test("one that is older than the reset is read on from by a new connection", async () => {
    let cursor = 4;
    const { net, feed } = start({ after: 5, backoff: { random: () => 0 }, loadSnapshot: () => ({ tasks: [], cursor: (cursor += 43) }) });
    await opened(feed, net);
    net.last.say(reset("expired", 100), event(101));
    await settled();
    expect(net.sockets).toHaveLength(2);
    expect(net.last.after).toBe("90");
  });

  test("when it fails after a reset, the cursor stays and the server resets again", async () => {
    let loads = 0;
    const { net, feed, saved } = start({
      after: 5, backoff: { random: () => 0 },
      loadSnapshot: () => { if (++loads === 2) throw new Error("503"); return { tasks: [], cursor: 200 }; },
    });
    await opened(feed, net);
    net.last.say(reset("expired", 100));
    await settled();
    expect(net.last.after).toBe("5");
    net.last.open().say(reset("expired", 150));
    await settled();
    expect(saved).toEqual([200]);
  });

  test("a reset that nobody listens for ends the feed, beyond the gap", async () => {
    const { net, feed, ends, saved } = start({ after: 5 });
    await opened(feed, net);
    net.last.say(reset("expired", 100));
    await settled();
    expect(ends).toMatchObject([{ error: { code: "reset" } }]);
    expect(saved).toEqual([100]);
  });
});

describe("the iterator", () => {
  test("connects, and hands out one event at a time", async () => {
    const { net, feed, saved } = start({ after: 0 });
    const events = feed.events();
    const first = events.next();
    await settled();
    net.last.open().say(event(1), event(2));
    expect((await first).value).toMatchObject({ id: 1 });
    await settled();
    expect(saved).toEqual([]); // the loop's body is still at it
    expect((await events.next()).value).toMatchObject({ id: 2 });
    expect(saved).toEqual([1]);
  });

  test("one that started the feed ends it when it is left, and the event comes again", async () => {
    const { net, feed, saved, states } = start({ after: 0, cursorStore: undefined });
    const loop = async (): Promise<number> => {
      for await (const e of feed.events()) if (e.id === 2) return e.id;
      return 0;
    };
    let result = loop();
    await settled();
    net.last.open().say(event(1), event(2), event(3));
    expect(await result).toBe(2);
    await settled();
    expect(feed.cursor).toBe(1);
    expect(states.at(-1)).toBe("closed");
    result = loop();
    await settled();
    expect(net.last.after).toBe("1");
    net.last.open().say(event(2));
    expect(await result).toBe(2);
    expect(saved).toEqual([]);
  });

  test("leaving it is no error that onHandlerError is told of", async () => {
    const errors: unknown[] = [];
    const { net, feed, states } = start({ onHandlerError: (error) => { errors.push(error); } });
    const loop = (async () => { for await (const _ of feed.events()) break; })();
    await settled();
    net.last.open().say(event(1), event(2));
    await loop;
    await settled();
    expect(errors).toEqual([]);
    expect(states.at(-1)).toBe("closed");
    expect(feed.cursor).toBe(undefined);
  });

  test("on a feed that runs, leaving it ends nothing else", async () => {
    const { net, feed, saved } = start({ after: 0 });
    const ids: number[] = [];
    feed.on("event", (e) => ids.push(e.id));
    await opened(feed, net);
    const loop = (async () => { for await (const e of feed.events()) if (e.id === 1) break; })();
    await settled();
    net.last.say(event(1), event(2));
    await loop;
    await settled();
    expect(ids).toEqual([1, 2]);
    expect(saved).toEqual([1, 2]);
  });

  test("an error in the loop's body keeps the cursor before the event", async () => {
    const { net, feed } = start({ after: 0, cursorStore: undefined });
    const loop = (async () => { for await (const e of feed.events()) throw new Error(`bug ${e.id}`); })();
    await settled();
    net.last.open().say(event(1), event(2));
    await expect(loop).rejects.toThrow("bug 1");
    await settled();
    expect(feed.cursor).toBe(0);
    expect(net.last.closed).toBe(true);
  });

  test("abort ends it while it waits", async () => {
    const { net, feed, states } = start();
    const abort = new AbortController();
    const loop = (async () => { let n = 0; for await (const _ of feed.events({ signal: abort.signal })) n++; return n; })();
    await settled();
    net.last.open().say(event(1));
    await settled();
    abort.abort();
    expect(await loop).toBe(1);
    expect(states.at(-1)).toBe("closed");
    expect(feed.cursor).toBe(1);
  });

  test("abort during the body lets the body come to its end", async () => {
    const { net, feed } = start();
    const abort = new AbortController();
    const ids: number[] = [];
    const loop = (async () => { for await (const e of feed.events({ signal: abort.signal })) { ids.push(e.id); abort.abort(); } })();
    await settled();
    net.last.open().say(event(1), event(2));
    await loop;
    expect(ids).toEqual([1]);
    expect(feed.cursor).toBe(1);
  });

  test("an aborted signal connects to nothing", async () => {
    const { net, feed } = start();
    for await (const _ of feed.events({ signal: AbortSignal.abort() })) expect.unreachable();
    await settled();
    expect(net.sockets).toEqual([]);
  });

  test("it throws the error that ends the feed, after the events before it", async () => {
    const { net, feed } = start();
    const ids: number[] = [];
    const loop = (async () => { for await (const e of feed.events()) ids.push(e.id); })();
    await settled();
    net.last.open().say(event(1)).shut(4003);
    await expect(loop).rejects.toMatchObject({ code: "forbidden" });
    expect(ids).toEqual([1]);
  });

  test("it ends with a feed that is closed", async () => {
    const { net, feed } = start();
    const loop = (async () => { for await (const _ of feed.events()); })();
    await settled();
    net.last.open();
    await feed.close();
    await loop;
  });

  test("a slow one does not have memory grow without bound: the feed comes back for the rest", async () => {
    const { net, feed } = start({ after: 0 });
    const hold = gate();
    const ids: number[] = [];
    feed.on("event", async (e) => { ids.push(e.id); if (e.id === 1) await hold.opened; });
    await opened(feed, net);
    const large = "x".repeat(1 << 20);
    for (let id = 1; id <= 9; id++) net.last.say(event(id, { message: large }));
    hold.open();
    await settled();
    const kept = ids.length;
    expect(kept).toBeGreaterThan(1);
    expect(kept).toBeLessThan(6);
    expect(net.sockets).toHaveLength(2);
    expect(net.last.after).toBe(String(kept));
  });
});
