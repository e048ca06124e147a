import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { TaskFeed, TokenRejected, type FeedOptions, type StateChange } from "../src/index.js";
import { event, FakeNet, jwt, live, settled } from "./support/fake.js";

// The timing of connections, with a fake clock.

beforeEach(() => {
  vi.useFakeTimers({ now: Date.UTC(2026, 10, 22) });
});

afterEach(async () => {
  for (const feed of feeds.splice(0)) await feed.close();
  expect(vi.getTimerCount()).toBe(0); // a closed feed leaves no timer
  vi.useRealTimers();
});

const feeds: TaskFeed[] = [];

async function start(more?: Partial<FeedOptions>): Promise<{ net: FakeNet; feed: TaskFeed; changes: StateChange[]; asks: string[] }> {
  const net = new FakeNet();
  const asks: string[] = [];
  const feed = new TaskFeed(net.options({ getToken: ({ reason }) => `token-${asks.push(reason)}`, ...more }));
  const changes: StateChange[] = [];
  feed.on("state", (change) => { changes.push(change); });
  feeds.push(feed);
  feed.connect();
  await settled();
  return { net, feed, changes, asks };
}

const pass = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

const delays = (changes: StateChange[]): number[] => changes.flatMap(({ delay }) => delay ?? []);

/** Fails connections as they are made, until there have been n. */
async function failAll(net: FakeNet, n: number): Promise<void> {
  for (let seen = 0; seen < n; ) {
    while (net.sockets.length > seen) net.sockets[seen++]!.fail();
    await pass(30_000);
  }
}

describe("backoff", () => {
  test("the ceiling doubles from 0.5 s to 30 s", async () => {
    const { net, changes } = await start();
    await failAll(net, 9);
    expect(delays(changes).slice(0, 9)).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
    expect(changes.find((c) => c.state === "waiting")!.error).toMatchObject({ code: "connection" });
  });

  test("each wait is drawn from all below the ceiling", async () => {
    const draws = [0, 0.25, 0.999];
    const { net, changes } = await start({ backoff: { min: 1000, max: 1000, random: () => draws.shift() ?? 0.5 } });
    await failAll(net, 4);
    expect(delays(changes).slice(0, 4)).toEqual([0, 250, 999, 500]);
  });

  test("the wait is kept to", async () => {
    const { net } = await start();
    net.last.fail();
    await pass(499);
    expect(net.sockets).toHaveLength(1);
    await pass(1);
    expect(net.sockets).toHaveLength(2);
  });

  test.each([[4999, 2000], [5000, 500]])("a connection that lasted %i ms is followed by a wait below %i ms", async (lasted, want) => {
    const { net, changes } = await start();
    net.last.fail();
    await pass(500);
    net.last.fail();
    await pass(1000);
    net.last.open().say(live(1));
    await pass(lasted);
    net.last.shut(1006);
    await settled();
    expect(delays(changes).at(-1)).toBe(want);
  });

  test.each([[1012, 500], [4008, 500], [4009, 2000], [4029, 2000], [1011, 2000], [1001, 2000]])("after close %i the wait is below %i ms", async (code, want) => {
    const { net, changes } = await start();
    net.last.fail();
    await pass(500);
    net.last.fail();
    await pass(1000);
    net.last.open().say(live(1)).shut(code);
    await settled();
    expect(delays(changes).at(-1)).toBe(want);
  });

  test("1012 at once, again and again, is no reason to hammer the server", async () => {
    const { net, changes } = await start();
    for (let i = 0; i < 5; i++) {
      net.last.open().shut(1012);
      await pass(30_000);
    }
    expect(delays(changes).slice(0, 5)).toEqual([500, 1000, 2000, 4000, 8000]);
  });

  test.each([["online", true, 1], ["online", false, 1], ["visibilitychange", true, 0], ["visibilitychange", false, 1]])("%s, hidden %s, ends %i waits", async (type, hidden, want) => {
    const page = Object.assign(new EventTarget(), { hidden });
    vi.stubGlobal("document", page);
    vi.stubGlobal("addEventListener", page.addEventListener.bind(page)); // events of the document bubble to the window
    const { net } = await start();
    await failAll(net, 5);
    net.last.fail();
    await settled();
    const before = net.sockets.length;
    page.dispatchEvent(new Event(type));
    await settled();
    expect(net.sockets).toHaveLength(before + want);
  });

  test("a closed feed no longer listens to the page", async () => {
    const page = new EventTarget();
    vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
    const { net, feed } = await start();
    net.last.open().say(live(1));
    await feed.close();
    const { sent } = net.last;
    page.dispatchEvent(new Event("online"));
    await settled();
    expect(sent).toEqual(["ping"]);
    expect(net.sockets).toHaveLength(1);
  });
});

describe("tokens", () => {
  test("4001 asks once for another, and a second refusal ends the feed", async () => {
    const { net, changes, asks } = await start();
    net.last.open().shut(4001, "the token has expired");
    await pass(500);
    expect(net.last.token).toBe("token-2");
    net.last.open().shut(4001, "the signature is wrong");
    await settled();
    expect(asks).toEqual(["initial", "rejected"]);
    const { state, error } = changes.at(-1)!;
    expect(state).toBe("closed");
    expect(error).toBeInstanceOf(TokenRejected);
    expect(error).toMatchObject({ name: "TokenRejected", code: "rejected", closeCode: 4001 });
  });

  test("4001 long after a good connection is a first refusal", async () => {
    const { net, feed, asks } = await start();
    for (let i = 0; i < 3; i++) {
      net.last.open().say(live(1)).shut(4001);
      await pass(5000);
    }
    expect(asks).toEqual(["initial", "rejected", "rejected", "rejected"]);
    expect(feed.state).toBe("connecting");
  });

  test("TokenRejected from getToken ends the feed", async () => {
    const { changes, net } = await start({ getToken: () => { throw new TokenRejected("logged out"); } });
    expect(changes.at(-1)).toMatchObject({ state: "closed", error: { code: "rejected", message: "logged out" } });
    expect(net.sockets).toEqual([]);
  });

  test.each(["throws", "rejects"])("getToken that %s is asked again with the same reason", async (how) => {
    const asks: string[] = [];
    const fail = (): never => { throw new Error("offline"); };
    const { net, changes } = await start({
      getToken: ({ reason }) => (asks.push(reason) > 2 ? "t" : how === "throws" ? fail() : Promise.reject(new Error("offline"))),
    });
    expect(changes.at(-1)).toMatchObject({ state: "waiting", error: { code: "connection", message: "getToken failed" } });
    await pass(1500);
    expect(asks).toEqual(["initial", "initial", "initial"]);
    expect(net.sockets).toHaveLength(1);
  });

  test.each([[3600, 3540], [100, 50]])("one of %i s is renewed over the open connection after %i s", async (lasts, after) => {
    let n = 0;
    const asks: string[] = [];
    const getToken: FeedOptions["getToken"] = ({ reason }) => {
      asks.push(reason);
      return jwt(`${++n}`, Date.now() + lasts * 1000);
    };
    const { net } = await start({ getToken });
    const answer = setInterval(() => net.last.say("pong"), 5000);
    net.last.open().say(live(1));
    await pass(after * 1000 - 1);
    expect(asks).toEqual(["initial"]);
    await pass(1);
    expect(asks).toEqual(["initial", "expired"]);
    const auth = net.last.sent.filter((text) => text !== "ping");
    expect(auth).toEqual([JSON.stringify({ type: "auth", token: jwt("2", Date.UTC(2026, 10, 22) + (after + lasts) * 1000) })]);
    await pass(after * 1000);
    expect(asks).toHaveLength(3);
    expect(net.sockets).toHaveLength(1);
    clearInterval(answer);
  });

  test.each(["throws", "returns a proxy's page"])("a renewal that %s is tried again while the old token lasts, and ends nothing", async (how) => {
    let n = 0;
    const fail = (): string => { if (how === "throws") throw new Error("offline"); return "<html>502 Bad Gateway</html>"; };
    const { net, feed } = await start({ getToken: () => (n++ ? fail() : jwt("1", Date.now() + 80_000)) });
    const answer = setInterval(() => net.last.say("pong"), 5000);
    net.last.open().say(live(1));
    await pass(79_000);
    expect(n).toBeGreaterThan(4);
    expect(n).toBeLessThan(10);
    expect(feed.state).toBe("live");
    clearInterval(answer);
  });

  test("a renewal that gives the same token is not sent, and tried again later", async () => {
    let n = 0;
    const token = jwt("1", Date.now() + 80_000);
    const { net } = await start({ getToken: () => { n++; return token; } });
    const answer = setInterval(() => net.last.say("pong"), 5000);
    net.last.open().say(live(1));
    await pass(62_000);
    expect(n).toBe(3);
    expect(new Set(net.last.sent)).toEqual(new Set(["ping"]));
    clearInterval(answer);
  });

  test("TokenRejected from a renewal ends the feed", async () => {
    let n = 0;
    const { net, changes } = await start({ getToken: () => { if (n++) throw new TokenRejected(); return jwt("1", Date.now() + 40_000); } });
    net.last.open().say(live(1));
    await pass(21_000);
    expect(changes.at(-1)).toMatchObject({ state: "closed", error: { code: "rejected" } });
  });

  test("one that has expired before a reconnect is replaced first", async () => {
    let n = 0;
    const asks: string[] = [];
    const { net } = await start({ getToken: ({ reason }) => { asks.push(reason); return jwt(`${++n}`, Date.now() + 2000); } });
    net.last.open().shut(1011);
    vi.setSystemTime(Date.now() + 60_000);
    await pass(500);
    expect(asks).toEqual(["initial", "expired"]);
  });

  test("by a clock that is wrong every token has expired; it is used all the same", async () => {
    const asks: string[] = [];
    const { net, feed } = await start({ getToken: ({ reason }) => { asks.push(reason); return jwt("1", Date.now() - 7_200_000); } });
    net.last.open().say(live(1));
    await pass(20_000);
    expect(feed.state).toBe("live");
    net.last.shut(1011);
    await pass(500);
    expect(net.sockets).toHaveLength(2);
    expect(asks).toEqual(["initial"]);
  });

  test("one of a hundred days is not renewed at once", async () => {
    const asks: string[] = [];
    const { net } = await start({ getToken: ({ reason }) => { asks.push(reason); return jwt("1", Date.now() + 100 * 86_400_000); } });
    const answer = setInterval(() => net.last.say("pong"), 20_000);
    net.last.open().say(live(1));
    await pass(3_600_000);
    expect(asks).toEqual(["initial"]);
    clearInterval(answer);
  });
});

describe("the peer", () => {
  test("that does not open a connection within 15 s is given up", async () => {
    const { net, changes } = await start();
    await pass(14_999);
    expect(changes.at(-1)!.state).toBe("connecting");
    await pass(1);
    expect(changes.at(-1)).toMatchObject({ state: "waiting", error: { message: "the server does not answer" } });
    expect(net.last.closed).toBe(true);
  });

  test("that is silent is asked after 25 s and given up 10 s later", async () => {
    const { net, feed, changes } = await start();
    net.last.open().say(live(7));
    await pass(24_999);
    expect(net.last.sent).toEqual(["ping"]); // when it opened
    await pass(1);
    expect(net.last.sent).toEqual(["ping", "ping"]);
    await pass(9_999);
    expect(feed.state).toBe("live");
    await pass(1);
    expect(changes.at(-1)).toMatchObject({ state: "waiting", error: { message: "the server does not answer" } });
    await pass(500);
    expect(net.last.after).toBe("7"); // half-open: the other end has not noticed
  });

  test("that answers is asked again and again", async () => {
    const { net, feed } = await start();
    net.last.open().say(live(7));
    for (let i = 0; i < 10; i++) {
      await pass(26_000);
      net.last.say("pong");
    }
    expect(net.last.sent.length).toBeGreaterThan(8);
    expect(net.sockets).toHaveLength(1);
    expect(feed.state).toBe("live");
  });

  test("that sends events is not asked", async () => {
    const { net } = await start();
    net.last.open().say(live(7));
    for (let i = 8; i < 30; i++) {
      await pass(20_000);
      net.last.say(event(i));
    }
    expect(net.last.sent).toEqual(["ping"]);
    expect(net.sockets).toHaveLength(1);
  });

  test("that opens and then says nothing at all is given up after 10 s", async () => {
    const { net, changes } = await start();
    net.last.open();
    await pass(10_000);
    expect(changes.at(-1)!.state).toBe("waiting");
  });

  test("is not blamed for a page that slept: it is asked first", async () => {
    const { net, feed } = await start();
    net.last.open().say(live(7));
    await pass(20_000);
    sleep(3_600_000);
    await pass(5_000); // the timer fires an hour late
    expect(net.last.sent).toEqual(["ping", "ping"]);
    expect(feed.state).toBe("live");
    net.last.say("pong");
    await pass(20_000);
    expect(net.sockets).toHaveLength(1);
  });

  test("has its full time for an answer after a sleep in which one was due", async () => {
    const { net, feed } = await start();
    net.last.open().say(live(7));
    await pass(26_000);
    sleep(60_000);
    await pass(9_000);
    expect(feed.state).toBe("live");
    expect(net.last.sent).toEqual(["ping", "ping", "ping"]);
    await pass(10_000);
    expect(feed.state).toBe("waiting");
  });

  test("is not judged by a clock that jumps", async () => {
    const { net, feed } = await start();
    net.last.open().say(live(7));
    for (const jump of [86_400_000, -172_800_000, 3_600_000]) {
      vi.setSystemTime(Date.now() + jump);
      await pass(20_000);
      net.last.say("pong");
    }
    expect(net.sockets).toHaveLength(1);
    expect(feed.state).toBe("live");
  });

  test("is not judged while the handlers are at work", async () => {
    const { net, feed } = await start();
    let done = (): void => {};
    feed.on("event", () => new Promise<void>((resolve) => { done = resolve; }));
    net.last.open().say(event(1));
    await pass(120_000);
    expect(net.sockets).toHaveLength(1);
    done();
    await pass(1000);
    expect(feed.cursor).toBe(1);
    expect(net.sockets).toHaveLength(1);
    expect(feed.state).toBe("replaying");
  });

  test("is asked at once when the page comes back to life", async () => {
    const page = new EventTarget();
    vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
    const { net, feed } = await start();
    net.last.open().say(live(7));
    await pass(5_000);
    page.dispatchEvent(new Event("online"));
    expect(net.last.sent).toEqual(["ping", "ping"]);
    await pass(10_000);
    expect(feed.state).toBe("waiting");
  });
});

/** Advances the clock without running timers, as when a laptop sleeps. */
function sleep(ms: number): void {
  const before = performance.now();
  vi.spyOn(performance, "now").mockImplementation(() => before + ms + (Date.now() - slept));
  const slept = Date.now();
}
