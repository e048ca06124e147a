import { signal } from "@preact/signals";
import { TaskFeed, TokenRejected, type TaskFeedError } from "../../client/src/index.js";
import { get } from "./api.js";
import { probe } from "./health.js";
import { Rates } from "./rates.js";
import { server } from "./router.js";
import { byApp, logout, type Session } from "./session.js";
import type { FeedEvent } from "./types.js";

/** The state of the console's own connection. */
export type FeedState = "off" | "connecting" | "live" | "waiting" | "ended";

export const feedState = signal<FeedState>("off");
/** Why the connection waits or has ended. */
export const feedReason = signal("");
export const feedCursor = signal<number | null>(null);
/** Counts since the page was loaded. */
export const seen = signal({ events: 0, reconnects: 0, resets: 0 });

/** Grows after a reset, and when the feed is live for the first time: lists are then loaded again. */
export const gap = signal(0);

/** The number of events in each second of the last ten minutes. */
export const rates = new Rates(602, Date.now());

type Listener = (event: FeedEvent) => void;
const listeners = new Set<Listener>();

/** Calls the listener with every event, once and in order. Returns a function that removes the listener. */
export function listen(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const kept = 2000;
let recent: FeedEvent[] = [];

/** The last events, oldest first. A list that was requested while the feed was live is brought up to date with them. */
export function lastEvents(): readonly FeedEvent[] {
  return recent;
}

/** What the client sends where the app says who the user is; nobody reads it. */
const noToken = "none";

/** Follows all users' events for an admin, and the user's own for others. Returns a function that ends it. */
export function follow(session: Session): () => void {
  let wasLive = false;
  const feed = new TaskFeed({
    url: server.href,
    // Tabs share one connection by this name: browsers limit the connections to one server.
    userId: session.admin ? "all users" : session.user,
    shared: true,
    transports: session.admin ? ["sse"] : ["websocket", "sse"],
    fetch: session.admin ? fetchAll : undefined,
    backoff: { min: 500, max: 5000 },
    async getToken({ reason }) {
      if (reason === "initial") return session.token || noToken;
      if (!byApp) throw new TokenRejected();
      await get("v1/me").catch(() => { throw new TokenRejected(); }); // after the end of a session of the app there may be another
      return noToken;
    },
  });
  feed.on("event", (event) => take(session.admin ? event as FeedEvent : { user_id: event.feed ?? ("task_id" in event ? session.user : undefined), ...event }));
  feed.on("reset", () => {
    seen.value = { ...seen.value, resets: seen.value.resets + 1 };
    gap.value++;
  });
  feed.on("state", ({ state, error }) => {
    feedCursor.value = feed.cursor ?? null;
    feedReason.value = error?.message ?? "";
    switch (state) {
      case "live":
        if (wasLive) seen.value = { ...seen.value, reconnects: seen.value.reconnects + 1 };
        else gap.value++;
        wasLive = true;
        feedState.value = "live";
        break;
      case "waiting":
        feedState.value = "waiting";
        void probe();
        break;
      case "closed":
        ended(error);
        break;
      default:
        if (feedState.value !== "waiting") feedState.value = "connecting";
    }
  });
  const cursor = setInterval(() => { feedCursor.value = feed.cursor ?? null; }, 1000);
  feed.connect();
  return () => {
    clearInterval(cursor);
    void feed.close();
    recent = [];
    feedState.value = "off";
  };
}

function take(event: FeedEvent): void {
  recent.push(event);
  if (recent.length > 2 * kept) recent = recent.slice(-kept);
  seen.value = { ...seen.value, events: seen.value.events + 1 };
  rates.add(Date.now());
  for (const listener of listeners) listener(event);
}

function ended(error: TaskFeedError | undefined): void {
  feedState.value = error ? "ended" : "off";
  if (error?.code === "rejected") logout(error.message);
}

/** An admin's stream has the events of all users. */
const fetchAll: typeof fetch = (input, init) => {
  const url = new URL(String(input));
  url.searchParams.set("all", "true");
  return fetch(url, init);
};
