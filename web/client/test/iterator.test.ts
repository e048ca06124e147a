import { describe, expect, test } from "vitest";
import { event, gate, settled } from "./support/fake.js";
import { opened, start } from "./support/start.js";

describe("the iterator", () => {
  test("connects, and hands out one event at a time", async () => {
    const { net, feed, saved } = start({ after: 0 });
    const events = feed.events();
    const first = events.next();
    await settled();
    net.last.open().say(event(1), event(2));
    expect((await first).value).toMatchObject({ id: 1 });
    await settled();
    expect(saved).toEqual([]); // the loop's body is still running
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
