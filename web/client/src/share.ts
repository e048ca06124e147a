import type { TaskFeedError } from "./errors.js";
import type { Frame } from "./frame.js";
import type { Inbox } from "./inbox.js";
import type { SessionOptions, Sink } from "./session.js";
import type { State } from "./types.js";

/**
 * What the leader says of itself: every event up to `at` has been on the channel
 * or is older than the leader, and every later one will be on it.
 */
interface Status {
  /** Absent: it has no position yet. */
  at?: number;
  state: State;
  /** The leader was reset, so every tab has to ask the server for itself. */
  check?: boolean;
  /** An operator has sent the leader away, and with it all tabs. */
  end?: string;
}

/** The text of an event, a status, or a follower's question for one. */
type Message = Status | string;

const hello = "hello";

/** How long the leader may take to answer before a follower reads for itself. */
const patience = 3_000;

/** What comes from the leader. */
export type Shared = Status | Frame;

/** What a tab's part needs of its feed. */
export interface ShareOptions {
  /** The tabs of the same name share. */
  name: string;
  /** Nobody else's. */
  inbox: Inbox<Shared>;
  readFrame(text: string): Frame | undefined;
  /** Called when this tab is to lead. */
  onLead(): void;
  cursor(): number | undefined;
  /** Serves a session until it ends or `take` returns true. */
  serve(session: SessionOptions, take: (item: Shared) => Promise<boolean | void>): Promise<void>;
  take(frame: Frame): Promise<void>;
  /** Every event up to the cursor has been taken. */
  live(cursor: number): Promise<void>;
  to(state: State): void;
  /** Returns the error of a feed that an operator has sent away. */
  disconnected(message: string): Error;
}

/**
 * A tab's part in a shared connection. The tab that holds the lock is the leader:
 * it has the connection and puts what comes on the channel before its own
 * handlers see it. The others follow. Since a status and events come in the order
 * in which they were sent, a follower whose cursor is not below a status misses
 * nothing; one whose cursor is below reads from the server until it is not.
 */
export interface Share {
  /** This tab has the connection for all. */
  leads(): boolean;
  /** This tab gets what the leader gets; if neither, it reads from the server for itself alone. */
  follows(): boolean;
  /** Reads what the leader hands on, until this tab has to connect. */
  follow(): Promise<void>;
  /** Reports whether a tab that reads for itself can follow again. */
  reached(): boolean;
  /** Says from where on this tab leads. */
  lead(): void;
  /** Puts a frame that came over the leader's connection on the channel. */
  publish(frame: Frame, text: string): void;
  /** Tells the followers of the leader's state. */
  tell(state: State): void;
  /** Leaves. A follower becomes the leader, unless an operator sends all away. */
  close(error?: TaskFeedError): void;
}

/** Joins the tabs of that name. It stands in a file of its own, loaded when it is needed. */
export function newShare({ name, inbox, readFrame, onLead, cursor, serve, take, live, to, disconnected }: ShareOptions): Share {
  const channel = new BroadcastChannel(name);
  const abort = new AbortController();
  const status: Status = { state: "connecting" };
  let leader = false;
  let alone = false; // reads for itself, as no leader or not as far as the leader
  let whole = false; // the inbox misses nothing since the last status that came after a gap
  let sink: Sink | undefined;
  let release: (() => void) | undefined;

  const send = (m: Message): void => channel.postMessage(m);
  const post = (more?: Partial<Status>): void => send({ ...status, ...more });
  const heard = (m: Message): void => {
    sink?.heard();
    const text = typeof m === "string";
    whole ||= !text && (m.at !== undefined || !!m.end);
    if (!whole || inbox.push(text ? readFrame(m)! : m, text ? m.length : 99)) return;
    whole = false;
    sink?.end();
  };
  channel.onmessage = ({ data }: { data: Message }) => {
    if (data !== hello) leader || heard(data);
    else if (leader) post();
  };
  const takeShared = async (m: Shared): Promise<boolean | void> => {
    if ("type" in m) return take(m);
    if (m.end) throw disconnected(m.end);
    if (m.at !== undefined) {
      if (m.check || m.at > cursor()!) return (alone = true);
      await live(m.at);
    }
    to(m.state);
  };
  navigator.locks.request(name, { signal: abort.signal }, () => new Promise<void>((resolve) => {
    release = resolve;
    if (abort.signal.aborted) return resolve(); // closed in the very moment
    leader = true;
    onLead();
  })).catch(() => {}); // closed before it came to lead
  return {
    leads: () => leader,
    follows: () => !leader && !alone,
    async follow() {
      const connect = (s: Sink) => {
        sink = s;
        queueMicrotask(s.open);
        return { ask: () => send(hello), close: () => { sink = undefined; } };
      };
      try {
        await serve({ inbox, connect, patience }, takeShared);
      } catch (e: any) {
        if (e.code !== "connection") throw e;
        alone = true;
        whole = false;
      } finally {
        inbox.reopen();
      }
    },
    reached() {
      const head = inbox.head();
      if (leader || !head || "type" in head || cursor()! < head.at!) return false;
      head.check = alone = false;
      return true;
    },
    lead() {
      status.at ??= cursor();
      post();
    },
    publish(frame, text) {
      const event = "id" in frame;
      const at = event ? frame.id : frame.cursor;
      const check = frame.type === "feed_reset";
      if (event) send(text);
      status.at = check ? at : Math.max(status.at ?? 0, at);
      if (!event) post({ check });
    },
    tell(state) {
      status.state = state;
      if (leader) post();
    },
    close(error) {
      if (leader && error?.code === "disconnected") post({ end: error.message });
      abort.abort();
      release?.();
      channel.close();
    },
  };
}
