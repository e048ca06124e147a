import { expect, test } from "vitest";
import type { FeedOptions, Unread } from "../src/index.js";
import { event, gate, live, settled } from "./support/fake.js";
import { opened, start, type Started } from "./support/start.js";

/** A server of the REST API in memory. */
class FakeMarks {
  asked: string[] = [];
  counted = { through: 10, total: 2, more: false, types: { mail: 2 } as Record<string, number>, cursor: 20 };
  status = 200;
  wait: Promise<void> | undefined;

  fetch = (async (url: string, { method, headers }: { method: string; headers: Record<string, string> }) => {
    this.asked.push(`${method} ${url.replace("http://taskfeed.test/v1/me/", "")} ${headers.Authorization}`);
    await this.wait;
    return { ok: this.status === 200, status: this.status, headers: new Headers(), text: async () => "", json: async () => (method === "PUT" ? { through: 0 } : this.counted) };
  }) as unknown as typeof fetch;
}

async function counting(more?: Partial<FeedOptions>): Promise<Started & { marks: FakeMarks; told: Unread[] }> {
  const marks = new FakeMarks();
  const started = start({ unread: true, fetch: marks.fetch, after: 20, cursorStore: undefined, backoff: { random: () => 0 }, ...more });
  const told: Unread[] = [];
  started.feed.on("unread", (unread) => { told.push(unread); });
  await opened(started.feed, started.net);
  started.net.last.say(live(20));
  await settled();
  return { ...started, marks, told };
}

test("the server counts when the feed is live, and the feed counts on", async () => {
  const { feed, net, marks, told } = await counting({ feeds: ["team"] });
  expect(marks.asked).toEqual(["GET unread?feed=team Bearer secret-token"]);
  expect(feed.unread).toEqual({ through: 10, total: 2, more: false, types: { mail: 2 } });
  net.last.say(
    event(21), event(22, { type: "task_completed" }), event(23, { type: "task_queued" }), event(24, { type: "mail" }), event(25, { type: "news" }));
  await settled();
  expect(feed.unread).toEqual({ through: 10, total: 5, more: false, types: { mail: 3, task_completed: 1, news: 1 } });
  expect(told).toHaveLength(4);
  expect(told.at(-1)).toEqual(feed.unread);
});

test("an event that the server has counted is not counted again", async () => {
  const { feed, net, marks } = await counting();
  marks.counted = { ...marks.counted, total: 3, cursor: 22 };
  net.last.say(event(22, { type: "mail" }));
  await settled();
  net.last.fail();
  await settled();
  net.last.open().say(live(22));
  await settled();
  expect(feed.unread!.total).toBe(3);
});

test("types say what counts", async () => {
  const { feed, net, marks } = await counting({ types: ["task_progress", "mail"] });
  expect(marks.asked[0]).toContain("types=task_progress%2Cmail");
  net.last.say(event(21), event(22, { type: "mail" }));
  await settled();
  expect(feed.unread).toEqual({ through: 10, total: 4, more: false, types: { mail: 3, task_progress: 1 } });
});

test("markRead marks what was handled, here at once and on the server", async () => {
  const { feed, net, marks } = await counting();
  net.last.say(event(21, { type: "mail" }));
  await settled();
  const written = feed.markRead();
  expect(feed.unread).toEqual({ through: 21, total: 0, more: false, types: {} });
  await written;
  expect(marks.asked.slice(1)).toEqual(["PUT read?through=21 Bearer secret-token"]);
  await feed.markRead(15); // backwards
  expect(marks.asked).toHaveLength(2);
  expect(feed.unread!.through).toBe(21);
});

test("many marks are few requests", async () => {
  const { feed, marks } = await counting();
  const slow = gate();
  marks.wait = slow.opened;
  const all = [...Array(50).keys()].map((i) => feed.markRead(20 + i));
  await settled();
  slow.open();
  await Promise.all(all);
  expect(marks.asked.slice(1)).toEqual(["PUT read?through=20 Bearer secret-token", "PUT read?through=69 Bearer secret-token"]);
});

test("a mark of another device arrives", async () => {
  const { feed, net, marks } = await counting();
  net.last.say(event(21, { type: "mail" }), event(22, { type: "mail" }), { type: "feed_read", through: 21 });
  await settled();
  expect(feed.unread).toEqual({ through: 21, total: 1, more: false, types: { mail: 1 } });
  net.last.say({ type: "feed_read", through: 5 }, { type: "feed_read" });
  await settled();
  expect(feed.unread!.through).toBe(21);
  expect(marks.asked).toHaveLength(1);
});

test("below what the server has counted, it counts again", async () => {
  const { feed, net, marks } = await counting();
  marks.counted = { ...marks.counted, through: 15, total: 1, types: { mail: 1 } };
  net.last.say({ type: "feed_read", through: 15 });
  await settled();
  expect(marks.asked).toHaveLength(2);
  expect(feed.unread).toEqual({ through: 15, total: 1, more: false, types: { mail: 1 } });
});

test("more than a thousand are not counted", async () => {
  const { feed, net } = await counting();
  net.last.say(...[...Array(1200).keys()].map((i) => event(21 + i, { type: "mail" })));
  await settled();
  for (let i = 0; i < 200 && feed.cursor !== 1220; i++) await settled();
  expect(feed.unread).toMatchObject({ total: 1000, more: true });
});

test("a mark that could not be written is written when the feed is live again", async () => {
  const { feed, net, marks } = await counting();
  marks.status = 503;
  await expect(feed.markRead()).rejects.toMatchObject({ status: 503 });
  marks.status = 200;
  net.last.fail();
  await settled();
  net.last.open().say(live(20));
  await settled();
  expect(marks.asked.at(-1)).toContain("PUT read?through=20");
});

test("without the option nothing is asked or counted", async () => {
  const { feed, net, marks, told } = await counting({ unread: false });
  net.last.say(event(21, { type: "mail" }), { type: "feed_read", through: 21 });
  await settled();
  expect([marks.asked, told, feed.unread]).toEqual([[], [], undefined]);
  await feed.markRead();
  expect(marks.asked).toHaveLength(1);
});

test("the option taskId stands in the way", () => {
  expect(() => start({ unread: true, taskId: "t1" })).toThrow("unread cannot stand beside taskId");
});
