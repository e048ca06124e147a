import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { TaskFeed, type FeedOptions, type StateChange } from "../src/index.js";
import { FakeBrowser } from "./support/browser.js";
import { FakeNet, live, settled } from "./support/fake.js";

// How the client finds out whether the peer is there: over links that can ping and
// links that cannot, with silence, the browser's events and late timers. The clock is
// a fake.

let page: EventTarget & { hidden: boolean };

beforeEach(() => {
  vi.useFakeTimers({ now: Date.UTC(2026, 10, 22), toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date", "performance"] });
  page = Object.assign(new EventTarget(), { hidden: false });
  vi.stubGlobal("document", page);
  vi.stubGlobal("addEventListener", page.addEventListener.bind(page)); // events of the document bubble to the window
});

afterEach(async () => {
  for (const feed of feeds.splice(0)) await feed.close();
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

const feeds: TaskFeed[] = [];

/** The opened streams; the test is their other end. */
class Streams {
  readonly opened: { say(text: string): void; ended: boolean }[] = [];

  fetch: typeof fetch = async (_, init) => {
    let end = (): void => {};
    const body = new ReadableStream({
      start: (to) => {
        const stream = { say: (text: string) => to.enqueue(Buffer.from(text)), ended: false };
        end = () => { stream.ended = true; to.error(new Error("aborted")); };
        this.opened.push(stream);
      },
    });
    init!.signal!.addEventListener("abort", end);
    return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
  };

  get last() { return this.opened.at(-1)!; }
}

function connect(options: Partial<FeedOptions>): { feed: TaskFeed; changes: StateChange[] } {
  const feed = new TaskFeed(new FakeNet().options(options));
  feeds.push(feed);
  const changes: StateChange[] = [];
  feed.on("state", (change) => { changes.push(change); });
  feed.connect();
  return { feed, changes };
}

async function stream(beginning: string, more?: Partial<FeedOptions>): Promise<{ streams: Streams; feed: TaskFeed; changes: StateChange[] }> {
  const streams = new Streams();
  const started = connect({ transports: ["sse"], fetch: streams.fetch, ...more });
  await turns();
  streams.last.say(beginning + `data: ${JSON.stringify(live(7))}\n\n`);
  await turns();
  expect(started.feed.state).toBe("live");
  return { streams, ...started };
}

/** Runs everything that waits for promises and streams. */
async function turns(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise(setImmediate);
}

async function pass(ms: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
  await turns();
}

/** Advances the clock without running timers, as when a laptop sleeps. */
function sleep(ms: number): void {
  const before = performance.now();
  const slept = Date.now();
  vi.spyOn(performance, "now").mockImplementation(() => before + ms + (Date.now() - slept));
}

/** The timers of a hidden tab, which fire only at full minutes. */
function throttle(): void {
  const { setTimeout } = globalThis;
  vi.stubGlobal("setTimeout", (work: () => void, ms: number) => setTimeout(work, Math.ceil((performance.now() + ms) / 60_000) * 60_000 - performance.now()));
}

const happenings = ["online", "visibilitychange", "pageshow", "resume"];

// A server announces how long it may be silent; an earlier version does not.
const silences = [["says 15 s", "retry: 2000\n: silence 15000\n\n", 15], ["says 5 minutes", "retry: 2000\n: silence 300000\n\n", 300],
  ["says 1 s", ": silence 1000\r\n\r\n", 1], ["says nothing", "retry: 2000\n\n", 15]] as const;

describe.each(silences)("a stream whose server %s of its silence", (_, beginning, every) => {
  // The client waited 10 s for an answer that a stream cannot give, and disconnected.
  test.each(happenings)("is not dropped after %s", async (happening) => {
    const { streams, feed } = await stream(beginning);
    for (let i = 0; i < 20; i++) {
      await pass(every * 400);
      page.dispatchEvent(new Event(happening));
      await pass(every * 600);
      streams.last.say(":\n\n");
    }
    await turns();
    expect([streams.opened.length, feed.state]).toEqual([1, "live"]);
  });

  test("is not dropped while nothing happens, and given up when the comments end", async () => {
    const { streams, feed, changes } = await stream(beginning);
    for (let i = 0; i < 10; i++) {
      await pass(every * 1000);
      streams.last.say(":\n\n");
    }
    await turns();
    await pass((every + 20) * 1000 - 1);
    expect([streams.opened.length, feed.state]).toEqual([1, "live"]);
    await pass(1);
    expect(changes.at(-1)).toMatchObject({ state: "waiting", error: { message: "the server does not answer" } });
    expect(streams.opened[0]!.ended).toBe(true);
    await pass(2000);
    expect(streams.opened).toHaveLength(2);
  });

  test("is given up in the same time however often the page comes and goes", async () => {
    const { streams } = await stream(beginning);
    for (let left = (every + 25) * 1000; left > 0; left -= 4000) {
      page.dispatchEvent(new Event(happenings[left % 3]!));
      await pass(4000);
    }
    expect(streams.opened.length).toBeGreaterThan(1);
  });

  test("has its time once more after a sleep", async () => {
    const { streams, feed } = await stream(beginning);
    sleep(3_600_000);
    page.dispatchEvent(new Event("resume"));
    await pass((every + 20) * 1000 - 1);
    expect([streams.opened.length, feed.state]).toEqual([1, "live"]);
    streams.last.say(":\n\n");
    await turns();
    await pass((every + 19) * 1000);
    expect([streams.opened.length, feed.state]).toEqual([1, "live"]);
  });

  test("is given up in a hidden tab, whose timers all come late", async () => {
    throttle();
    const { streams } = await stream(beginning);
    await pass((2 * (every + 20) + 180) * 1000);
    expect(streams.opened.length).toBeGreaterThan(1);
  });
});

test.each(["silence 0", "silence 99999999999999999999", "silence 15000 ms", "silence -1", "silence", "Silence 1", "silence: 1"])("the comment %j does no harm", async (comment) => {
  const { streams, feed } = await stream(`: ${comment}\n\n`);
  for (let i = 0; i < 4; i++) {
    await pass(15_000);
    streams.last.say(":\n\n");
    await turns();
  }
  expect([streams.opened.length, feed.state]).toEqual([1, "live"]);
});

describe("a WebSocket", () => {
  async function socket(): Promise<{ net: FakeNet; feed: TaskFeed }> {
    const net = new FakeNet();
    const { feed } = connect({ WebSocket: net.WebSocket });
    await settled();
    net.last.open().say(live(7), "pong");
    await settled();
    return { net, feed };
  }

  test.each(happenings)("that answers is asked after %s and stays", async (happening) => {
    const { net, feed } = await socket();
    for (let i = 0; i < 10; i++) {
      await pass(7000);
      page.dispatchEvent(new Event(happening));
      expect(net.last.sent).toHaveLength(i + 2);
      net.last.say("pong");
    }
    expect([net.sockets.length, feed.state]).toEqual([1, "live"]);
  });

  test("that is dead is found out however often the page comes and goes", async () => {
    const { net } = await socket();
    for (let i = 0; i < 6; i++) { // each ping restarted the wait
      page.dispatchEvent(new Event("visibilitychange"));
      await pass(6000);
    }
    expect(net.sockets.length).toBeGreaterThan(1);
  });

  test("that is dead is found out in a hidden tab, whose timers all come late", async () => {
    throttle();
    const { net } = await socket();
    await pass(6 * 60_000); // each late timer was mistaken for a sleep
    expect(net.sockets.length).toBeGreaterThan(1);
  });

  test("that is alive stays in a hidden tab", async () => {
    throttle();
    const { net, feed } = await socket();
    for (let asked = net.last.sent.length, i = 0; i < 60; i++) {
      await pass(10_000);
      if (net.last.sent.length > asked) net.last.say("pong");
      asked = net.last.sent.length;
    }
    expect([net.sockets.length, feed.state]).toEqual([1, "live"]);
  });
});

test("tabs that share a stream keep it", async () => {
  new FakeBrowser().install();
  const streams = new Streams();
  const options = { transports: ["sse"], fetch: streams.fetch, shared: true } as const;
  const leader = connect(options);
  await vi.waitFor(() => expect(streams.opened).toHaveLength(1));
  streams.last.say(`: silence 15000\n\ndata: ${JSON.stringify(live(7))}\n\n`);
  await vi.waitFor(() => expect(leader.feed.state).toBe("live"));
  const follower = connect(options);
  await vi.waitFor(() => expect(follower.feed.state).toBe("live"));
  for (let i = 0; i < 10; i++) {
    page.dispatchEvent(new Event("visibilitychange"));
    await turns();
    for (let s = 0; s < 15; s++) await pass(1000); // what one tab says reaches the other between two timers
    streams.last.say(":\n\n");
    await turns();
  }
  expect([streams.opened.length, leader.feed.state, follower.feed.state]).toEqual([1, "live", "live"]);
});

test("a page that is shown again tries at once", async () => {
  for (const happening of happenings) {
    const net = new FakeNet();
    const { feed } = connect({ WebSocket: net.WebSocket });
    await settled();
    net.last.fail();
    await settled();
    page.dispatchEvent(new Event(happening));
    await settled();
    expect([happening, net.sockets.length]).toEqual([happening, 2]);
    await feed.close();
  }
});
