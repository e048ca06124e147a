import { fetchEventSource } from "@microsoft/fetch-event-source";
import { EventSourcePolyfill } from "event-source-polyfill";
import { EventSource } from "eventsource";
import { WebSocket as PartySocket } from "partysocket";
import ReconnectingWebSocket from "reconnecting-websocket";

// Third-party clients, each used as its own documentation says, in a page or in Node.
// They reconnect by themselves.

/** The feed to follow, and its server. */
export interface Feed { base: string; user: string; token: string }

/** What a client received: the ids after the client rule, id > last, the number of ignored events, and messages that are not events. */
export interface Got { ids: number[]; passed: number; others: string[] }

/** Applies the client rule to the text of one event. */
type Take = (text: string) => void;

export const types = ["note", "task_queued", "task_started", "task_progress"];

interface Source { addEventListener(type: string, listener: (event: any) => void): void }

/** Listens to each type of event by its name, as an app does. */
function listen(source: Source, take: Take): void {
  for (const type of [...types, "feed_reset"]) source.addEventListener(type, ({ data }) => take(data));
}

const stream = ({ base }: Feed, query = ""): string => `${base}/v1/events/stream?after=0${query}`;
const bearer = ({ token }: Feed): { headers: Record<string, string> } => ({ headers: { Authorization: "Bearer " + token } });
const socket = ({ base, user }: Feed, { ids }: Got): string => `${base.replace("http", "ws")}/ws/${user}?after=${ids.at(-1) ?? 0}`;
const protocols = ({ token }: Feed): string[] => ["taskfeed.v1", "bearer." + token];

const onText = (take: Take) => ({ data }: { data: unknown }): void => {
  if (String(data) !== "pong") take(String(data));
};

type Follow = (feed: Feed, take: Take, got: Got) => void;

/** Clients that run everywhere; in Node 20 with the WebSocket of `ws`. */
export const clients = (WebSocket?: unknown): Record<string, Follow> => ({
  "eventsource, token in the URL": (feed, take) => listen(new EventSource(stream(feed, "&token=" + feed.token)), take),
  "eventsource, token in a header": (feed, take) => listen(new EventSource(stream(feed), {
    fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...bearer(feed).headers } }),
  }), take),
  "event-source-polyfill, token in the URL": (feed, take) => listen(new EventSourcePolyfill(stream(feed, "&token=" + feed.token)), take),
  "event-source-polyfill, token in a header": (feed, take) => listen(new EventSourcePolyfill(stream(feed), bearer(feed)), take),
  "reconnecting-websocket": (feed, take, got) => {
    new ReconnectingWebSocket(() => socket(feed, got), protocols(feed), { WebSocket }).addEventListener("message", onText(take));
  },
  "partysocket": (feed, take, got) => {
    new PartySocket(() => socket(feed, got), protocols(feed), { WebSocket }).addEventListener("message", onText(take));
  },
});

/** Clients that run only in pages. */
export const pageClients: Record<string, Follow> = {
  "@microsoft/fetch-event-source": (feed, take) => void fetchEventSource(stream(feed), {
    ...bearer(feed),
    openWhenHidden: true,
    onmessage: ({ event, data }) => { if (types.includes(event) || event === "feed_reset") take(data); },
    onclose() { throw new Error("closed: come back"); }, // as in its README; otherwise it does not reconnect after an orderly end
  }),
  "the browser's own EventSource": (feed, take) => listen(new globalThis.EventSource(stream(feed, "&token=" + feed.token)), take),
};

/** Lets a client follow the feed, and records what it receives. */
export function gather(follow: Follow, feed: Feed): Got {
  const got: Got = { ids: [], passed: 0, others: [] };
  follow(feed, (text) => {
    const { id, type } = JSON.parse(text) as { id?: number; type: string };
    if (id === undefined) {
      if (type !== "feed_live") got.others.push(type);
    } else if (id > (got.ids.at(-1) ?? 0)) {
      got.ids.push(id);
    } else {
      got.passed++;
    }
  }, got);
  return got;
}
