import { afterEach, describe, expect, test, vi } from "vitest";
import { WebSocket } from "ws";
import { TaskFeed, type FeedOptions, type WebSocketClass } from "../src/index.js";
import { eventParser } from "../src/sse.js";
import { event, gate, jwt, live } from "./support/fake.js";
import { scriptedServer, type Peer, type ScriptedServer } from "./support/server.js";

function parsed(...chunks: string[]): { data: string[]; retries: number[]; silences: number[] } {
  const data: string[] = [];
  const retries: number[] = [];
  const silences: number[] = [];
  const parse = eventParser((text) => data.push(text), (ms) => retries.push(ms), (ms) => silences.push(ms));
  chunks.forEach(parse);
  return { data, retries, silences };
}

describe("the parser", () => {
  test.each<[string, string, string[]]>([
    ["line feeds", "data: a\n\ndata: b\n\n", ["a", "b"]],
    ["carriage returns", "data: a\r\rdata: b\r\r", ["a", "b"]],
    ["both", "data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]],
    ["several lines of data with carriage returns and line feeds", "data: a\r\ndata: b\r\n\r\n", ["a\nb"]],
    ["several lines of data", "data: a\ndata:\ndata: b\n\n", ["a\n\nb"]],
    ["no space, one space, two spaces", "data:a\n\ndata: a\n\ndata:  a\n\n", ["a", "a", " a"]],
    ["a colon in the value", "data: {\"a\":1}\n\n", ["{\"a\":1}"]],
    ["a field without a colon", "data\n\n", [""]],
    ["comments", ": ping\n\n:\n\ndata: a\n: in between\n\n", ["a"]],
    ["other fields", "id: 7\nevent: feed_live\nnonsense: 1\ndata: a\n\n", ["a"]],
    ["names that only begin alike", "dataset: x\n data: y\nDATA: z\n\n", []],
    ["an event without data", "event: x\nid: 1\n\n", []],
    ["an event that does not end", "data: a\n\ndata: b\n", ["a"]],
    ["U+2028 and NUL in a line", "data: a\u2028b\u0000\n\n", ["a\u2028b\u0000"]],
  ])("reads %s, in one piece and in pieces", (_, stream, want) => {
    expect(parsed(stream).data).toEqual(want);
    expect(parsed(...stream).data).toEqual(want); // one character at a time
    expect(parsed(...stream.split(/(?<=\r)/)).data).toEqual(want);
    expect(parsed("", stream.slice(0, 3), "", stream.slice(3)).data).toEqual(want);
  });

  test("a carriage return is not waited for", () => {
    expect(parsed("data: a\r\r").data).toEqual(["a"]);
  });

  test("retry is digits alone", () => {
    expect(parsed("retry: 250\n", "retry: x1\n", "retry: -1\n", "retry:\n", "retry: 1.5\n").retries).toEqual([250]);
  });

  test("silence is a comment of its own", () => {
    const { data, silences } = parsed(": silence 250\n", ": silence 15000\r\n", "silence 1\n", "data: silence 2\n\n", ": silence 3 s\n", ": a silence 4\n", ": silence\n");
    expect([data, silences]).toEqual([["silence 2"], [250, 15_000]]);
  });

  test("a line without end is given up", () => {
    expect(() => parsed("data: ", "x".repeat(5 << 20))).toThrow(/protocol/);
  });
});

const servers: ScriptedServer[] = [];
const feeds: TaskFeed[] = [];

afterEach(async () => {
  for (const feed of feeds.splice(0)) await feed.close();
  for (const server of servers.splice(0)) await server.stop();
});

async function start(serve: (peer: Peer, n: number) => void | Promise<void>, more?: Partial<FeedOptions>): Promise<{ feed: TaskFeed; server: ScriptedServer; ids: number[]; ended: Promise<unknown> }> {
  const server = await scriptedServer(serve);
  servers.push(server);
  const feed = new TaskFeed({
    url: server.url, userId: "alice", getToken: () => "secret-token", transports: ["sse"], backoff: { random: () => 0 },
    WebSocket: WebSocket as unknown as WebSocketClass, ...more,
  });
  feeds.push(feed);
  const ids: number[] = [];
  feed.on("event", (e) => { ids.push(e.id); });
  const ended = new Promise((resolve) => feed.on("state", ({ state, error }) => { if (state === "closed") resolve(error); }));
  return { feed, server, ids, ended };
}

const until = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 20_000, interval: 5 });

describe("the stream", () => {
  test("carries the token in a header and nowhere else", async () => {
    const { feed, server } = await start(async (peer) => { await peer.open(); peer.send(live(1)); });
    await feed.ready();
    const { headers, url } = server.peers[0]!;
    expect(headers.authorization).toBe("Bearer secret-token");
    expect(headers.accept).toBe("text/event-stream");
    expect(url.href).not.toContain("secret");
  });

  test("a character that is split between two pieces arrives whole", async () => {
    const { feed } = await start(async (peer) => {
      await peer.open();
      const bytes = Buffer.from(`\uFEFFdata: ${JSON.stringify(event(1, { message: "é😀" }))}\n\n`);
      for (const byte of bytes) {
        peer.raw(new Uint8Array([byte]));
        await new Promise(setImmediate);
      }
    });
    const messages: unknown[] = [];
    feed.on("task_progress", (e) => { messages.push(e.message); });
    feed.connect();
    await until(() => expect(messages).toEqual(["é😀"]));
  });

  test("cut off in the middle of an event, it goes on after the last whole one", async () => {
    const { feed, server, ids } = await start(async (peer, n) => {
      await peer.open();
      if (n) return peer.send(event(2), event(3));
      peer.send(event(1));
      await until(() => expect(ids).toEqual([1]));
      peer.raw(`id: 2\ndata: {"id":2,`);
      peer.cut();
    });
    feed.connect();
    await until(() => expect(ids).toEqual([1, 2, 3]));
    expect(server.peers.map(({ after }) => after)).toEqual([null, "1"]);
  });

  test("is not read ahead of slow handlers", async () => {
    let pulled = 0;
    const body = (): ReadableStream => new ReadableStream({
      pull(to) {
        if (pulled === 100) return new Promise(() => {});
        to.enqueue(Buffer.from(`data: ${JSON.stringify(event(++pulled))}\n\n`));
      },
    }, { highWaterMark: 0 });
    const hold = gate();
    const { feed, ids } = await start(() => {}, {
      fetch: async () => new Response(body(), { headers: { "Content-Type": "text/event-stream" } }),
    });
    feed.on("event", () => hold.opened);
    feed.connect();
    await until(() => expect(ids).toEqual([1]));
    for (let i = 0; i < 100; i++) await new Promise(setImmediate);
    expect(pulled).toBe(1);
    hold.open();
    await until(() => expect(ids).toHaveLength(100));
  });

  test("a token that is renewed begins a new stream at once", async () => {
    let n = 0;
    const { feed, server } = await start(async (peer) => { await peer.open(); peer.send(live(7)); }, {
      getToken: () => jwt(`${++n}`, n === 1 ? Date.now() + 2500 : Date.now() + 3_600_000),
    });
    await feed.ready();
    await until(() => expect(server.peers).toHaveLength(2));
    expect(server.peers[1]!.token).not.toBe(server.peers[0]!.token);
    expect(server.peers[1]!.after).toBe("7");
  });

  test("retry raises the wait", async () => {
    const delays: unknown[] = [];
    const { feed } = await start(async (peer) => { await peer.open(); peer.raw("retry: 2000\n\n"); peer.close(1000); }, {
      backoff: { random: () => 1 }, onState: ({ delay }) => { if (delay) delays.push(delay); },
    });
    feed.connect();
    await until(() => expect(delays).toEqual([2000]));
  });
});

describe("feed_closed", () => {
  const closing = (code: number) => async (peer: Peer, n: number): Promise<void> => {
    await peer.open();
    peer.send(event(n + 1));
    if (!n) peer.send({ type: "feed_closed", code, reason: "because" });
    if (!n) peer.close(1000);
  };

  test.each([[1012, "initial"], [4008, "initial"], [4001, "initial,rejected"]])("%i is what that close code is: the feed comes back", async (code, want) => {
    const asks: string[] = [];
    const { feed, ids, server } = await start(closing(code), { getToken: ({ reason }) => `token-${asks.push(reason)}` });
    feed.connect();
    await until(() => expect(ids).toEqual([1, 2]));
    expect(asks.join()).toBe(want);
    expect(server.peers[1]!.after).toBe("1");
  });

  test("4011 ends it", async () => {
    const { feed, ids, ended } = await start(closing(4011));
    feed.connect();
    expect(await ended).toMatchObject({ code: "disconnected", closeCode: 4011, message: "the server closed the connection with 4011: because" });
    expect(ids).toEqual([1]);
  });
});

describe("an answer that is no stream", () => {
  const problem = (status: number, code: string, detail: string): [number, Record<string, string>, string] =>
    [status, { "Content-Type": "application/problem+json" }, JSON.stringify({ status, code, detail })];

  test("the detail of a problem document is in the error, without the token", async () => {
    const { feed, ended } = await start((peer) => peer.answer(...problem(403, "forbidden", "not with secret-token")));
    feed.connect();
    expect(await ended).toMatchObject({ code: "forbidden", status: 403, message: "the server answered 403: not with [token]" });
  });

  test("any other body is left out", async () => {
    const { feed, ended } = await start((peer) => peer.answer(403, { "Content-Type": "text/html" }, "<h1>proxy</h1>"));
    feed.connect();
    expect(await ended).toMatchObject({ code: "forbidden", message: "the server answered 403" });
  });

  test("a problem document that is none does not hide the status", async () => {
    const { feed, ended } = await start((peer) => peer.answer(404, { "Content-Type": "application/problem+json" }, "{"));
    feed.connect();
    expect(await ended).toMatchObject({ code: "refused", status: 404 });
  });

  test("401 asks once for another token", async () => {
    const asks: string[] = [];
    const { feed, ended, server } = await start((peer) => peer.answer(...problem(401, "bad_token", "the token has expired")), {
      getToken: ({ reason }) => `token-${asks.push(reason)}`,
    });
    feed.connect();
    expect(await ended).toMatchObject({ name: "TokenRejected", code: "rejected", status: 401 });
    expect(asks).toEqual(["initial", "rejected"]);
    expect(server.peers).toHaveLength(2);
  });

  test.each([429, 503])("%i with Retry-After is obeyed", async (status) => {
    const changes: unknown[] = [];
    const { feed, server } = await start(async (peer, n) => {
      if (!n) return peer.answer(status, { "Retry-After": "1" });
      await peer.open();
      peer.send(live(1));
    }, { onState: ({ state, delay, error }) => { if (state === "waiting") changes.push([delay, error!.retryAfter]); } });
    const began = performance.now();
    await feed.ready();
    expect(changes).toEqual([[1000, 1000]]);
    expect(server.peers).toHaveLength(2);
    expect(performance.now() - began).toBeGreaterThan(990);
  });

  test("a page of a proxy with status 200 is tried again", async () => {
    const { feed, server } = await start(async (peer, n) => {
      if (!n) return peer.answer(200, { "Content-Type": "text/html" }, "<form>");
      await peer.open();
      peer.send(live(1));
    });
    const states: string[] = [];
    feed.on("state", ({ state }) => { states.push(state); });
    await feed.ready();
    expect(server.peers).toHaveLength(2);
    expect(states).toEqual(["connecting", "waiting", "connecting", "replaying", "live"]);
  });

  test("another place is not gone to, for the token is this one's", async () => {
    const { feed, server } = await start(async (peer, n) => {
      if (!n) return peer.answer(307, { Location: "/elsewhere" });
      await peer.open();
      peer.send(live(1));
    });
    await feed.ready();
    expect(server.peers.map(({ url }) => url.pathname)).toEqual(["/v1/events/stream", "/v1/events/stream"]);
  });
});

describe("fallback", () => {
  const transports = ["websocket", "sse"] as const;
  const seen = (server: ScriptedServer): string[] => server.peers.map(({ transport }) => transport);

  test("where WebSocket is blocked, SSE is tried, and then kept", async () => {
    const { feed, server, ids } = await start(async (peer) => {
      if (peer.transport === "websocket") return peer.answer(502);
      await peer.open();
      const next = Number(peer.after) + 1;
      peer.send(event(next), live(next));
      peer.close(1000);
    }, { transports });
    feed.connect();
    await until(() => expect(ids.length).toBeGreaterThan(3));
    expect(seen(server).slice(0, 5)).toEqual(["websocket", "websocket", "sse", "sse", "sse"]);
    expect(ids.slice(0, 4)).toEqual([1, 2, 3, 4]);
  });

  test("where WebSocket opens and breaks off before anything comes, too", async () => {
    const { feed, server } = await start(async (peer) => {
      await peer.open();
      if (peer.transport === "websocket") peer.cut();
      else peer.send(live(1));
    }, { transports });
    await feed.ready();
    expect(seen(server)).toEqual(["websocket", "websocket", "sse"]);
  });

  test("a WebSocket that has worked is not given up so soon", async () => {
    const { feed, server } = await start(async (peer, n) => {
      if (peer.transport === "websocket" && n) return peer.answer(502);
      await peer.open();
      peer.send(live(n));
      if (!n) peer.close(1012);
    }, { transports });
    feed.connect();
    await until(() => expect(seen(server).at(-1)).toBe("sse"));
    expect(seen(server)).toEqual([...Array(7).fill("websocket"), "sse"]);
  });

  test("a server without SSE gets WebSockets again, and for good", async () => {
    const { feed, server } = await start(async (peer, n) => {
      if (peer.transport === "sse") return peer.answer(404);
      if (n < 6) return peer.answer(502);
      await peer.open();
      peer.send(live(1));
    }, { transports });
    await feed.ready();
    expect(seen(server)).toEqual(["websocket", "websocket", "sse", "websocket", "websocket", "websocket", "websocket"]);
  });

  test("while nothing answers, both are tried in turn", async () => {
    const { feed, server } = await start((peer) => peer.answer(503), { transports });
    feed.connect();
    await until(() => expect(server.peers.length).toBeGreaterThan(7));
    expect(seen(server).slice(0, 8)).toEqual(["websocket", "websocket", "sse", "sse", "websocket", "websocket", "sse", "sse"]);
  });

  test("without a WebSocket class, as in Node 20, SSE is all there is", async () => {
    vi.stubGlobal("WebSocket", undefined);
    const { feed, server } = await start(async (peer) => { await peer.open(); peer.send(live(1)); }, { transports, WebSocket: undefined });
    await feed.ready();
    expect(seen(server)).toEqual(["sse"]);
  });
});
