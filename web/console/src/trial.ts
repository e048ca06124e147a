import { signal } from "@preact/signals";
import { server } from "./router.js";
import { sessionOf } from "./session.js";
import { text } from "./strings.js";

/** One entry in the log of the playground's connection. */
export interface Line {
  number: number;
  at: number; // ms since 1970
  kind: "sent" | "received" | "note";
  words: string;
  /** The parsed frame, if it is one. */
  frame?: Record<string, unknown>;
}

type TrialState = "closed" | "connecting" | "open" | "broken";

export const trialState = signal<TrialState>("closed");
export const lines = signal<readonly Line[]>([]);
/** The cursor to connect with, as typed: empty means live only. */
export const cursor = signal("");

/** Counts of received events and of duplicates, which the playground shows. */
export const tally = signal({ events: 0, twice: 0 });
const seen = new Set<number>(); // ids, including those of lines that are not shown any more

const mostLines = 500;
const showEvery = 50; // ms: a replay brings thousands of frames at once
const backAfter = 3000; // ms until a broken connection reconnects

let socket: WebSocket | null = null;
let timer = 0;
let count = 0;
let token = "";

let fresh: Line[] = []; // newest first, not shown yet
let showing = 0;

function log(kind: Line["kind"], words: string, frame?: Line["frame"]): void {
  fresh.unshift({ number: ++count, at: Date.now(), kind, words, frame });
  if (fresh.length > mostLines) fresh.length = mostLines;
  showing ||= window.setTimeout(show, showEvery);
}

function show(): void {
  showing = 0;
  lines.value = [...fresh, ...lines.value].slice(0, mostLines);
  fresh = [];
}

function counted(id: number): void {
  const { events, twice } = tally.value;
  tally.value = { events: events + 1, twice: twice + (seen.has(id) ? 1 : 0) };
  seen.add(id);
}

export function clear(): void {
  lines.value = fresh = [];
  tally.value = { events: 0, twice: 0 };
  seen.clear();
}

/** Connects as the token's user, by WebSocket and without the client library, so that every frame shows. */
export function connect(withToken: string): void {
  const user = sessionOf(withToken)?.user;
  if (user === undefined) return;
  drop();
  token = withToken.trim();
  const url = new URL("ws/" + encodeURIComponent(user), server);
  url.protocol = url.protocol.replace("http", "ws");
  if (cursor.value !== "") url.searchParams.set("after", cursor.value);
  trialState.value = "connecting";
  log("note", text.play.connecting(url.pathname + url.search));
  const next = new WebSocket(url, ["taskfeed.v1", "bearer." + token]);
  socket = next;
  next.onopen = () => {
    trialState.value = "open";
    log("note", text.play.open);
  };
  next.onmessage = ({ data }) => received(String(data));
  next.onclose = ({ code, reason }) => {
    socket = null;
    trialState.value = "closed";
    log("note", text.play.closed(code, reason));
  };
}

function received(words: string): void {
  let frame: Line["frame"];
  try {
    frame = JSON.parse(words);
  } catch {
    // not JSON: the word pong
  }
  log("received", words, typeof frame === "object" ? frame : undefined);
  const id = frame?.["id"];
  if (typeof id === "number") counted(id);
  const reached = id ?? frame?.["cursor"];
  if (typeof reached === "number") cursor.value = String(reached);
}

export function ping(): void {
  if (socket?.readyState !== WebSocket.OPEN) return;
  socket.send("ping");
  log("sent", "ping");
}

/** Ends the connection without a close frame from the server, and reconnects with the cursor after a while. */
export function breakOff(): void {
  drop();
  trialState.value = "broken";
  log("note", text.play.broken(backAfter));
  timer = window.setTimeout(() => connect(token), backAfter);
}

/** Closes the connection and does not reconnect. */
export function close(): void {
  if (trialState.value !== "closed") log("note", text.play.left);
  drop();
}

function drop(): void {
  clearTimeout(timer);
  if (socket) {
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    socket = null;
  }
  trialState.value = "closed";
}
