import { describe, expect, test, vi } from "vitest";
import { TaskFeed, TaskFeedError, type FeedEvent, type StateChange } from "../src/index.js";
import { event, FakeNet, gate, live, settled } from "./support/fake.js";
import { opened, start } from "./support/start.js";

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

  test.each([["empty", ""], ["of two words", "a b"], ["undefined", undefined], ["with a line feed inside", "a\nb"], ["a proxy's page", "<html>502 Bad Gateway</html>"]])("a token that is %s is asked for again", async (_, token) => {
    const changes: StateChange[] = [];
    const { net, feed, ends } = start({ getToken: () => token as string, onState: (change) => { changes.push(change); } });
    feed.connect();
    await settled();
    expect(changes.at(-1)).toMatchObject({ state: "waiting", error: { code: "connection", message: "getToken returned no token" } });
    expect([ends, net.sockets]).toEqual([[], []]);
    feed.close();
  });
});

test("the server is asked for what the options narrow the feed to", async () => {
  const { net, feed } = start({ types: ["a", "b"], taskId: "t&1", feeds: ["team"], progressInterval: 500, compact: true, client: "web" });
  await opened(feed, net);
  const { searchParams } = new URL(net.last.url);
  searchParams.delete("after");
  expect([...searchParams]).toEqual([["types", "a,b"], ["feed", "team"], ["task_id", "t&1"], ["progress_interval", "500ms"], ["compact", "true"], ["client", "web"]]);
});
