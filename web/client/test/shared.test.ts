import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { TaskFeed, type FeedOptions, type StateChange } from "../src/index.js";
import { FakeBrowser, FakeLog, type FakeChannel } from "./support/browser.js";
import { gate, settled } from "./support/fake.js";

let browser: FakeBrowser;
let log: FakeLog;
const feeds: TaskFeed[] = [];

beforeEach(() => {
  browser = new FakeBrowser();
  browser.install();
  log = new FakeLog();
});

afterEach(async () => {
  for (const feed of feeds.splice(0)) await feed.close();
  vi.useRealTimers();
});

interface Tab {
  feed: TaskFeed;
  after: number;
  ids: number[];
  changes: StateChange[];
  resets: string[];
  channel: FakeChannel;
  asks: number;
}

/** Opens a tab. */
async function open(more?: Partial<FeedOptions>): Promise<Tab> {
  const tab: Tab = { feed: undefined!, after: more?.after ?? 0, ids: [], changes: [], resets: [], channel: undefined!, asks: 0 };
  const feed = tab.feed = new TaskFeed({
    url: "http://taskfeed.test", userId: "alice", shared: true, after: 0, WebSocket: log.WebSocket, backoff: { random: () => 0 },
    getToken: () => { tab.asks++; return "secret-token"; }, onState: (change) => { tab.changes.push(change); }, ...more,
  });
  feed.on("event", (e) => { tab.ids.push(e.id); });
  feed.on("reset", ({ reason }) => { tab.resets.push(reason); });
  feeds.push(feed);
  const before = browser.channels.length;
  feed.connect();
  await vi.waitFor(() => expect(browser.channels.length).toBeGreaterThan(before));
  tab.channel = browser.channels.at(-1)!;
  return tab;
}

const until = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 20_000, interval: 2 });

const upTo = (n: number, from = 1): number[] => Array.from({ length: n - from + 1 }, (_, i) => i + from);

describe("tabs", () => {
  test("share one connection, and each gets each event", async () => {
    log.append(3);
    const tabs = [await open(), await open(), await open()];
    await until(() => expect(tabs.map(({ feed }) => feed.state)).toEqual(["live", "live", "live"]));
    log.append(4);
    await until(() => expect(tabs.map(({ ids }) => ids)).toEqual([upTo(7), upTo(7), upTo(7)]));
    expect(log.open).toHaveLength(1);
    expect(tabs.map(({ feed }) => feed.cursor)).toEqual([7, 7, 7]);
  });

  test("that come late read what they missed from the server, and then follow", async () => {
    const first = await open();
    await first.feed.ready();
    log.append(5);
    await until(() => expect(first.ids).toEqual(upTo(5)));
    const second = await open();
    await second.feed.ready();
    await until(() => expect(second.ids).toEqual(upTo(5)));
    log.append(5);
    await until(() => expect(second.ids).toEqual(upTo(10)));
    await until(() => expect(log.open).toHaveLength(1));
    expect(first.ids).toEqual(upTo(10));
    expect(log.sockets).toHaveLength(2);
  });

  test("that want live events only begin where the leader is, without a connection", async () => {
    const first = await open();
    await first.feed.ready();
    log.append(5);
    await until(() => expect(first.feed.cursor).toBe(5));
    const second = await open({ after: undefined });
    await second.feed.ready();
    log.append(2);
    await until(() => expect(second.ids).toEqual([6, 7]));
    expect(second.asks).toBe(0);
    expect(log.sockets).toHaveLength(1);
  });

  test("hear of a read mark, each of them", async () => {
    log.append(3);
    const fetch: any = async () => ({ ok: true, json: async () => ({ through: 0, total: 2, more: false, types: { mail: 2 }, cursor: 3 }) });
    const tabs = [await open({ unread: true, fetch }), await open({ unread: true, fetch })];
    await until(() => expect(tabs.map(({ feed }) => feed.unread?.total)).toEqual([2, 2]));
    log.open[0]!.say({ type: "feed_read", through: 3 });
    await until(() => expect(tabs.map(({ feed }) => feed.unread?.total)).toEqual([0, 0]));
    log.append(1);
    await until(() => expect(tabs.map(({ ids }) => ids)).toEqual([upTo(4), upTo(4)]));
  });

  test("of another user, or with other filters, do not", async () => {
    const tabs = [await open(), await open({ userId: "bob" }), await open({ types: ["task_progress"] })];
    await until(() => expect(tabs.every(({ feed }) => feed.state === "live")).toBe(true));
    expect(log.open).toHaveLength(3);
  });

  test("see the leader lose its connection and come back", async () => {
    const [, second] = [await open(), await open()];
    await second.feed.ready();
    log.open[0]!.break();
    log.append(3);
    await until(() => expect(second.ids).toEqual(upTo(3)));
    await until(() => expect(second.feed.state).toBe("live"));
    expect(second.changes.map(({ state }) => state)).toContain("waiting");
  });

  test("follow the next leader when one is closed", async () => {
    const tabs = [await open(), await open(), await open()];
    await until(() => expect(tabs.every(({ feed }) => feed.state === "live")).toBe(true));
    log.append(2);
    await until(() => expect(tabs[2]!.ids).toEqual(upTo(2)));
    await tabs[0]!.feed.close();
    log.append(3);
    await until(() => expect(tabs.slice(1).map(({ ids }) => ids)).toEqual([upTo(5), upTo(5)]));
    log.append(3);
    await until(() => expect(tabs.slice(1).map(({ ids }) => ids)).toEqual([upTo(8), upTo(8)]));
    expect(log.open).toHaveLength(1);
    expect(tabs[0]!.ids).toEqual(upTo(2));
  });

  test("that heard less of a leader that crashed than the next leader miss nothing", async () => {
    const tabs = [await open(), await open(), await open()];
    await until(() => expect(tabs.every(({ feed }) => feed.state === "live")).toBe(true));
    log.append(3);
    await until(() => expect(tabs[2]!.ids).toEqual(upTo(3)));
    log.append(2);
    tabs[2]!.channel.drop(tabs[0]!.channel); // and the second gets both
    await until(() => expect(tabs[1]!.ids).toEqual(upTo(5)));
    browser.crash(tabs[0]!.channel, () => 1);
    log.append(2); // while no tab leads
    void tabs[0]!.feed.close();
    await until(() => expect(tabs.slice(1).map(({ ids }) => ids)).toEqual([upTo(7), upTo(7)]));
    await until(() => expect(log.open).toHaveLength(1));
  });

  test("are not led astray by what comes before the leader has told where it is", async () => {
    log.append(5);
    const first = await open();
    await until(() => expect(first.ids).toEqual(upTo(5)));
    browser.onJoin = () => log.append(2);
    const second = await open();
    await until(() => expect([first.ids, second.ids]).toEqual([upTo(7), upTo(7)]));
  });

  test("that have no room for more come back for it", async () => {
    const hold = gate();
    const [first, second] = [await open(), await open()];
    await second.feed.ready();
    second.feed.on("event", () => hold.opened);
    const large = "x".repeat(1 << 20);
    for (let i = 0; i < 8; i++) log.append(1, { message: large });
    await until(() => expect(first.ids).toEqual(upTo(8)));
    hold.open();
    await until(() => expect(second.ids).toEqual(upTo(8)));
    log.append();
    await until(() => expect(second.ids).toEqual(upTo(9)));
    await until(() => expect(log.open).toHaveLength(1));
  });

  test("with slow handlers delay no other tab, the leader's own included", async () => {
    const hold = gate();
    const [first, second] = [await open(), await open()];
    first.feed.on("event", () => hold.opened);
    await second.feed.ready();
    log.append(10);
    await until(() => expect(second.ids).toEqual(upTo(10)));
    expect(first.ids).toEqual([1]);
    hold.open();
    await until(() => expect(first.ids).toEqual(upTo(10)));
  });

  test("are all sent away by an operator", async () => {
    const tabs = [await open(), await open()];
    await tabs[1]!.feed.ready();
    log.open[0]!.break(4011);
    await until(() => expect(tabs.map(({ changes }) => changes.at(-1)!.error?.code)).toEqual(["disconnected", "disconnected"]));
    expect(log.open).toHaveLength(0);
  });

  test("are each asked for a token of their own when the leader's is refused", async () => {
    const tabs = [await open(), await open()];
    await tabs[1]!.feed.ready();
    log.open[0]!.break(4003);
    await until(() => expect(tabs[0]!.changes.at(-1)).toMatchObject({ state: "closed", error: { code: "forbidden" } }));
    await until(() => expect(tabs[1]!.feed.state).toBe("live"));
    log.append();
    await until(() => expect(tabs[1]!.ids).toEqual([1]));
    expect(tabs[1]!.asks).toBeGreaterThan(0);
  });

  test("that are ahead of the log are each reset", async () => {
    log.append(100);
    const tabs = [await open(), await open()];
    await until(() => expect(tabs.every(({ feed }) => feed.cursor === 100)).toBe(true));
    log.head = 40; // restored from a backup
    log.open[0]!.break();
    await until(() => expect(tabs.map(({ resets }) => resets)).toEqual([["ahead"], ["ahead"]]));
    await until(() => expect(tabs.every(({ feed }) => feed.cursor === 40)).toBe(true));
    log.append(2);
    await until(() => expect(tabs.map(({ ids }) => ids.slice(100))).toEqual([[41, 42], [41, 42]]));
    await until(() => expect(log.open).toHaveLength(1));
  });

  test("whose leader was away for too long are not reset with it when they were not", async () => {
    log.append(10);
    const first = await open();
    await first.feed.ready();
    const second = await open();
    await second.feed.ready();
    log.open[0]!.break();
    log.oldest = log.head = 50; // the log continues without them
    await until(() => expect([first.resets, second.resets]).toEqual([["expired"], ["expired"]]));
    await until(() => expect([first.feed.cursor, second.feed.cursor]).toEqual([50, 50]));
    log.append();
    await until(() => expect([first.ids.at(-1), second.ids.at(-1)]).toEqual([51, 51]));
  });

  test("read for themselves while the leader is frozen, and follow again afterwards", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
    const tick = async (ms: number): Promise<void> => {
      for (let i = 0; i < ms / 1000; i++) {
        await vi.advanceTimersByTimeAsync(1000);
        for (let j = 0; j < 20; j++) await new Promise(setImmediate);
      }
    };
    const [first, second] = [await open(), await open()];
    await tick(1000);
    expect([first.feed.state, second.feed.state]).toEqual(["live", "live"]);
    const leaders = log.open[0]!;
    first.channel.frozen = true;
    leaders.deliver = () => {}; // a frozen tab runs nothing
    log.append(3);
    await tick(30_000);
    expect(second.ids).toEqual(upTo(3));
    expect(log.open).toHaveLength(2);
    first.channel.thaw();
    leaders.break();
    await tick(1000);
    expect(first.ids).toEqual(upTo(3));
    log.append(2);
    await tick(1000);
    log.append(2);
    await tick(1000);
    expect(second.ids).toEqual(upTo(7));
    expect(first.ids).toEqual(upTo(7));
    expect(log.open).toHaveLength(1);
  });

  test("closed in the moment in which they are to lead do not keep the lock", async () => {
    browser.onJoin = () => {
      browser.onJoin = () => {};
      void feeds.at(-1)!.close(); // the lock is granted with the next turn
    };
    await open();
    const others = [await open(), await open()];
    await until(() => expect(others.map(({ feed }) => feed.state)).toEqual(["live", "live"]));
    expect(log.open).toHaveLength(1);
  });

  test("where the browser has no locks, each have a connection", async () => {
    vi.stubGlobal("navigator", {});
    const make = (): TaskFeed => {
      const feed = new TaskFeed({ url: "http://h", userId: "alice", shared: true, getToken: () => "t", WebSocket: log.WebSocket });
      feeds.push(feed);
      return feed;
    };
    const two = [make(), make()];
    await Promise.all(two.map((feed) => feed.ready()));
    expect(log.open).toHaveLength(2);
    expect(browser.channels).toEqual([]);
  });

  test("where locks are refused, each have a connection", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    vi.stubGlobal("navigator", { locks: { request: () => Promise.reject(new DOMException("opaque origin", "SecurityError")) } });
    const tab = await open();
    await vi.advanceTimersByTimeAsync(3000);
    for (let j = 0; j < 20; j++) await new Promise(setImmediate);
    expect(tab.feed.state).toBe("live");
  });

  test("closed, leave nothing open", async () => {
    const tabs = [await open(), await open()];
    await until(() => expect(tabs.every(({ feed }) => feed.state === "live")).toBe(true));
    await Promise.all(tabs.map(({ feed }) => feed.close()));
    await settled();
    expect(log.open).toEqual([]);
    expect(browser.channels.every(({ dead }) => dead)).toBe(true);
  });
});

/** A random generator with a seed (mulberry32). */
function seeded(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

describe("over any hand-over, nothing is lost and nothing is duplicated", () => {
  test.each(upTo(12))("seed %i", async (seed) => {
    const random = seeded(seed);
    const pick = <T>(list: T[]): T => list[Math.floor(random() * list.length)]!;
    const alive: Tab[] = [];
    const all: Tab[] = [];
    const join = async (): Promise<void> => {
      const tab = await open({ after: random() < 0.8 ? 0 : Math.floor(random() * (log.head + 1)) });
      if (random() < 0.3) tab.feed.on("event", () => new Promise((resolve) => setImmediate(resolve))); // slow
      alive.push(tab);
      all.push(tab);
    };
    const steps: [weight: number, step: () => unknown][] = [
      [10, () => log.append(1 + Math.floor(random() * 5))],
      [2, join],
      [1, () => alive.length > 1 && alive.splice(Math.floor(random() * alive.length), 1)[0]!.feed.close()],
      [2, () => { // the page of the leader crashes, or of another
        if (alive.length < 2) return;
        const [tab] = alive.splice(random() < 0.5 ? 0 : Math.floor(random() * alive.length), 1);
        log.append(Math.floor(random() * 3)); // which reach some tabs and not others
        browser.crash(tab!.channel, random);
        const ids = tab!.ids.length;
        tab!.feed.on("event", () => expect.unreachable(`a crashed page runs (${ids})`));
        void tab!.feed.close();
      }],
      [2, () => { if (log.open.length) pick(log.open).break(pick([1006, 1012, 4008])); }],
      [8, () => new Promise((resolve) => setImmediate(resolve))],
    ];
    const deck = steps.flatMap(([weight, step]) => Array<() => unknown>(weight).fill(step));
    await join();
    for (let i = 0; i < 150; i++) await pick(deck)();

    log.append(3);
    await until(() => expect(alive.map(({ feed }) => feed.cursor)).toEqual(alive.map(() => log.head)));
    for (const { ids, after } of all) expect(ids).toEqual(upTo(after + ids.length, after + 1));
    await until(() => expect(log.open).toHaveLength(1));
  });
});
