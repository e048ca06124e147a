import { createServer, type Server as HTTPServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { build } from "esbuild";
import EventSource2 from "eventsource2";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import { clients, gather, pageClients, types, type Feed, type Got } from "../support/clients.js";
import { newContext } from "../support/page.js";
import { Server, token } from "../support/server.js";
import { waitFor } from "../support/wait.js";

// Well-known clients from npm, over restarts of the server: each reconnects by itself
// and sends the cursor in its own way. event-source-polyfill, which sends ?lastEventId=,
// got 400 at its first reconnect and gave up.

/** Serves a page with the clients, of another origin than the feed's. */
async function serveClients(): Promise<HTTPServer> {
  const bundle = await build({
    entryPoints: [join(import.meta.dirname, "../support/clients.page.ts")], bundle: true, write: false, format: "iife", platform: "browser", logLevel: "error",
  });
  const script = bundle.outputFiles[0]!.text;
  const page = createServer(({ url }, answer) => (url === "/clients.js"
    ? answer.writeHead(200, { "Content-Type": "text/javascript" }).end(script)
    : answer.writeHead(200, { "Content-Type": "text/html" }).end(`<!doctype html><title>app</title><script src="/clients.js"></script>`)));
  await new Promise<void>((resolve) => page.listen(0, "127.0.0.1", resolve));
  return page;
}

let app: HTTPServer;
let origin: string;
beforeAll(async () => {
  app = await serveClients();
  origin = `http://127.0.0.1:${(app.address() as AddressInfo).port}`;
});
afterAll(() => {
  app.closeAllConnections();
  app.close();
});

/** Where the clients run. */
interface Place {
  /** Lets every client follow the feed, and returns their names. */
  follow(feed: Feed): Promise<string[]>;
  got(): Promise<Record<string, Got>>;
}

async function inPage(context: BrowserContext): Promise<Place> {
  const page: Page = await context.newPage();
  await page.goto(origin);
  return { follow: (feed) => page.evaluate(`follow(${JSON.stringify(feed)})`), got: () => page.evaluate("got") };
}

/** Versions before 3 use their own HTTP client, and store an id as soon as its line is complete. */
const second = (feed: Feed, take: (text: string) => void): void => {
  const source = new EventSource2(`${feed.base}/v1/events/stream?after=0`, { headers: { Authorization: "Bearer " + feed.token } });
  for (const type of [...types, "feed_reset"]) source.addEventListener(type, (event) => take((event as MessageEvent).data));
};
const nodeClients = { ...clients(WebSocket), "eventsource 2": second };

const inPages = Object.keys({ ...clients(), ...pageClients });
const inNodes = Object.keys(nodeClients);

function inNode(): Place {
  const got: Record<string, Got> = {};
  return {
    async follow(feed) {
      for (const [name, client] of Object.entries(nodeClients)) got[name] = gather(client, feed);
      return Object.keys(got);
    },
    got: async () => got,
  };
}

let server: Server;
let context: BrowserContext;
let got: Record<string, Got>;
let want: number[];

beforeAll(async () => {
  vi.spyOn(console, "error").mockImplementation(() => {}); // some log errors there while the server is down
  server = await Server.start({ origins: origin });
  context = await newContext();
  const places = [await inPage(context), inNode()];
  const feed = { base: server.base, user: "alice", token: token("alice") };
  await write(3);
  expect((await Promise.all(places.map((place) => place.follow(feed)))).flat()).toEqual([...inPages, ...inNodes]);
  await whole(places);
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    await write(2);
    await server.down(signal); // perhaps between these two
    await write(5); // while the server is down
    await server.up();
    await write(2);
    await whole(places);
  }
}, 240_000);
afterAll(async () => {
  await context?.close();
  await server.remove();
});

let tasks = 0;

/** Writes two events of a task, the second large enough to be sent in pieces, and two custom events. */
async function write(n: number): Promise<void> {
  for (let i = 0; i < n; i++) {
    await server.sql(`INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t${++tasks}', 'alice');
      UPDATE taskfeed.tasks SET status = 'running', result = to_jsonb(repeat('x', 100000)) WHERE id = 't${tasks}';
      SELECT taskfeed.notify('alice', 'note', '{}'); SELECT taskfeed.broadcast('note', '{"text": "é\\n\\u2028"}')`);
  }
}

/** Waits until each client has the last event of the log, or the time is over; the comparison then fails. */
async function whole(places: Place[]): Promise<void> {
  await waitFor("every change is in the log", async () => (await server.sql("SELECT count(*)::int AS n FROM taskfeed.changes"))[0]!["n"] === 0);
  want = (await server.sql("SELECT id FROM taskfeed.events ORDER BY id")).map((row) => Number(row["id"]));
  const all = async (): Promise<boolean> => {
    const [page, node] = await Promise.all(places.map((place) => place.got()));
    got = { ...prefixed("page", page!), ...prefixed("node", node!) };
    return Object.values(got).every(({ ids }) => ids.at(-1) === want.at(-1));
  };
  await waitFor("the last event is everywhere", all).catch(() => {});
}

const prefixed = (where: string, list: Record<string, Got>): Record<string, Got> =>
  Object.fromEntries(Object.entries(list).map(([name, one]) => [`${where} ${name}`, one]));

describe.each([["page", inPages], ["node", inNodes]])("over restarts after SIGTERM and SIGKILL, in a %s", (where, names) => {
  it.each(names)("%s has every event, once and in order", (name) => {
    expect(got[`${where} ${name}`], "what came").toEqual({ ids: want, passed: 0, others: [] });
  });
});
