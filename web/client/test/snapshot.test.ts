import { describe, expect, test, vi } from "vitest";
import { event, live, reset, settled } from "./support/fake.js";
import { opened, start } from "./support/start.js";

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
