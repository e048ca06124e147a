import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { TaskFeed, type FeedOptions, type Reset, type WebSocketClass } from "../src/index.js";
import { scriptedServer, type Peer } from "./support/server.js";

// The scripts that every client of taskfeed must pass; vectors.md beside them explains
// them. A browser's WebSocket does not show the status of a refused handshake, so scripts
// about that run over SSE. Scripts about close codes that SSE does not have run over
// WebSocket. Every script runs over at least one of them.

interface VectorSession {
  after?: number;
  token?: number;
  status?: number;
  headers?: Record<string, string>;
  frames?: unknown[];
  close?: number;
  cut?: "between" | "within";
}

interface Vector {
  name: string;
  feed?: { user_id?: string; after?: number; types?: string[]; task_id?: string };
  sessions: VectorSession[];
  asks?: string[];
  events: Record<string, unknown>[];
  resets?: { reason: string; cursor: number }[];
  cursor?: number;
  end?: string;
}

const file = new URL("../../../client/testdata/vectors.json", import.meta.url);
const vectors: Vector[] = JSON.parse(readFileSync(file, "utf8"));

/** Close codes with a meaning of their own. */
const telling = [4001, 4003, 4011];

function runsOver(v: Vector, transport: string): boolean {
  return v.sessions.every((s) => transport === "websocket"
    ? !s.status || s.status === 429 || !(s.status >= 400 && s.status < 500)
    : !s.close || !telling.includes(s.close) && s.close < 4500);
}

test("every vector runs over one transport at least", () => {
  expect(vectors.length).toBeGreaterThan(40);
  expect(vectors.filter((v) => !runsOver(v, "websocket") && !runsOver(v, "sse"))).toEqual([]);
});

for (const transport of ["websocket", "sse"] as const) {
  describe.concurrent(`vectors over ${transport}`, () => {
    for (const v of vectors.filter((v) => runsOver(v, transport))) {
      test(v.name, () => run(v, transport));
    }
  });
}

async function run(v: Vector, transport: "websocket" | "sse"): Promise<void> {
  const faults: string[] = [];
  const server = await scriptedServer(async (peer, n) => {
    const s = v.sessions[n];
    if (!s) {
      faults.push(`connection ${n + 1}: want no more than ${v.sessions.length}`);
      return peer.answer(403);
    }
    faults.push(...requestFaults(v, s, peer));
    await play(s, peer);
  });
  const asks: string[] = [];
  const resets: Pick<Reset, "reason" | "cursor">[] = [];
  const events: unknown[] = [];
  let saved: number | undefined;
  const options: FeedOptions = {
    url: server.url,
    userId: v.feed?.user_id ?? "alice",
    after: v.feed?.after,
    types: v.feed?.types,
    taskId: v.feed?.task_id,
    transports: [transport],
    WebSocket: WebSocket as unknown as WebSocketClass,
    backoff: { random: () => 0 },
    getToken: ({ reason }) => `token-${asks.push(reason)}`,
    cursorStore: { load: () => saved, save: (cursor) => { saved = cursor; } },
  };
  const feed = new TaskFeed(options);
  feed.on("reset", ({ reason, cursor }) => { resets.push({ reason, cursor }); });
  feed.on("event", (e) => {
    events.push(e);
    if ((e.type as string) === "end") void feed.close();
  });
  const end = await new Promise<string | undefined>((resolve) => {
    feed.on("state", ({ state, error }) => { if (state === "closed") resolve(error?.code); });
    feed.connect();
  });
  await server.stop();

  expect(faults).toEqual([]);
  expect(end).toBe(v.end);
  expect(events).toHaveLength(v.events.length);
  v.events.forEach((want, i) => expect(events[i]).toMatchObject(want));
  expect(resets).toEqual(v.resets ?? []);
  expect(asks).toEqual(v.asks ?? ["initial"]);
  expect(server.peers).toHaveLength(v.sessions.length);
  expect(saved).toBe(v.cursor);
}

/** What is wrong with the client's request. */
function requestFaults(v: Vector, s: VectorSession, peer: Peer): string[] {
  const { searchParams, pathname } = peer.url;
  const path = peer.transport === "sse" ? "/v1/events/stream" : "/ws/" + (v.feed?.user_id ?? "alice");
  return [
    ["path", decodeURIComponent(pathname), path],
    ["types", searchParams.get("types"), v.feed?.types?.join() ?? null],
    ["task_id", searchParams.get("task_id"), v.feed?.task_id ?? null],
    ["token", peer.token, `token-${s.token ?? 1}`],
    ["after", peer.after, s.after === undefined ? null : String(s.after)],
  ].filter(([, got, want]) => got !== want).map(([what, got, want]) => `${what}: got ${got}, want ${want}`);
}

/** Plays one session of a script. */
async function play(s: VectorSession, peer: Peer): Promise<void> {
  if (s.status) return peer.answer(s.status, s.headers);
  await peer.open();
  peer.send(...(s.frames ?? []));
  if (s.close) return peer.close(s.close);
  if (s.cut === "within") peer.raw(peer.transport === "sse" ? 'data: {"' : new Uint8Array([0x81, 100, 0x7b, 0x22]));
  // A stream that is cut off forgets what was not read yet, so it ends in order here.
  if (s.cut) peer.transport === "sse" ? peer.close(1000) : peer.cut();
}
