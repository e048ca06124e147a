import type { TaskFeedError } from "./errors.js";
import type { Frame } from "./frame.js";
import type { Inbox } from "./inbox.js";
import type { Link, SessionOptions, Sink } from "./session.js";
import type { State } from "./types.js";

/**
 * The status of the leader: every event up to `at` has been on the channel or is older
 * than the leader, and every later one will be on the channel.
 */
interface Status {
  /** Absent while the leader has no position. */
  at?: number;
  state: State;
  /** The leader was reset, so every tab must ask the server itself. */
  check?: boolean;
  /** An administrator has disconnected the leader, and with it all tabs. */
  end?: string;
}

/** The text of an event, a status, or a follower's request for a status. */
type Message = Status | string;

const hello = "hello";

/** How long the leader may take to answer before a follower connects to the server itself. */
const patience = 3_000;

/** An item from the leader. */
export type Shared = Status | Frame;

/** What a Share needs of its feed. */
export interface ShareOptions {
  /** Tabs with the same name share a connection. */
  name: string;
  /** Used only by this Share. */
  inbox: Inbox<Shared>;
  readFrame(text: string): Frame | undefined;
  /** Called when this tab is to lead. */
  onLead(): void;
  cursor(): number | undefined;
  /** Serves a session until it ends or `take` returns true. */
  serve(session: SessionOptions, take: (item: Shared) => Promise<boolean | void>): Promise<void>;
  take(frame: Frame): Promise<void>;
  /** Called when every event up to the cursor has been taken. */
  live(cursor: number): Promise<void>;
  to(state: State): void;
  /** Returns the error of a feed that an administrator has disconnected. */
  disconnected(message: string): Error;
}

/**
 * One tab of a shared connection. The tab that holds the lock is the leader: it has the
 * connection and puts each frame on the channel before its own handlers get it. The
 * other tabs follow. The channel keeps the order of statuses and events, so a follower
 * whose cursor is not below a status misses nothing; one whose cursor is below it reads
 * from the server until it has caught up.
 *
 * This class is in a file of its own, which is loaded only when it is needed.
 */
export class Share {
  readonly #o: ShareOptions;
  readonly #channel: BroadcastChannel;
  readonly #abort = new AbortController();
  readonly #status: Status = { state: "connecting" };
  #leads = false;
  #alone = false; // has its own connection, because there is no leader or to catch up with it
  #whole = false; // the inbox is complete since the first status after the last gap
  #sink: Sink | undefined;
  #release = (): void => {};

  /** Joins the tabs with that name. */
  constructor(options: ShareOptions) {
    this.#o = options;
    this.#channel = new BroadcastChannel(options.name);
    this.#channel.onmessage = ({ data }: { data: Message }) => {
      if (data !== hello) this.#heard(data);
      else if (this.#leads) this.#post();
    };
    const { signal } = this.#abort;
    navigator.locks.request(options.name, { signal }, () => new Promise<void>((resolve) => {
      this.#release = resolve;
      if (signal.aborted) return resolve(); // closed while the lock was granted
      this.#leads = true;
      options.onLead();
    })).catch(() => {}); // closed before it became the leader
  }

  /** Reports whether this tab is the leader. */
  get leads(): boolean { return this.#leads; }

  /** Reports whether this tab gets its frames from the leader. A tab that neither leads nor follows has its own connection. */
  get follows(): boolean { return !this.#leads && !this.#alone; }

  /** Reads the leader's frames until this tab has to connect itself. */
  async follow(): Promise<void> {
    const { inbox, serve } = this.#o;
    const connect = (sink: Sink): Link => {
      this.#sink = sink;
      queueMicrotask(sink.open);
      return { ask: () => this.#send(hello), close: () => { this.#sink = undefined; } };
    };
    try {
      await serve({ inbox, connect, patience }, (item) => this.#take(item));
    } catch (e: any) {
      if (e.code !== "connection") throw e;
      this.#alone = true;
      this.#whole = false;
    } finally {
      inbox.reopen();
    }
  }

  /** Reports whether a tab with its own connection can follow again. */
  reached(): boolean {
    const head = this.#o.inbox.head();
    if (this.#leads || !head || "type" in head || this.#o.cursor()! < head.at!) return false;
    head.check = this.#alone = false;
    return true;
  }

  /** Announces from which cursor on this tab leads. */
  lead(): void {
    this.#status.at ??= this.#o.cursor();
    this.#post();
  }

  /** Puts a frame that came over the leader's connection on the channel. */
  publish(frame: Frame, text: string): void {
    if (frame.type === "feed_read") return this.#send(text);
    const event = "id" in frame;
    const at = event ? frame.id : frame.cursor;
    const check = frame.type === "feed_reset";
    if (event) this.#send(text);
    this.#status.at = check ? at : Math.max(this.#status.at ?? 0, at);
    if (!event) this.#post({ check });
  }

  /** Sends the leader's state to the followers. */
  tell(state: State): void {
    this.#status.state = state;
    if (this.#leads) this.#post();
  }

  /** Leaves. A follower becomes the leader, unless an administrator has disconnected all. */
  close(error?: TaskFeedError): void {
    if (this.#leads && error?.code === "disconnected") this.#post({ end: error.message });
    this.#abort.abort();
    this.#release();
    this.#channel.close();
  }

  #heard(m: Message): void {
    if (this.#leads) return;
    this.#sink?.heard();
    const { inbox, readFrame } = this.#o;
    const text = typeof m === "string";
    this.#whole ||= !text && (m.at !== undefined || !!m.end);
    if (!this.#whole || inbox.push(text ? readFrame(m)! : m, text ? m.length : 99)) return;
    this.#whole = false; // no room: this tab reads the rest from the server later
    this.#sink?.end();
  }

  /** Returns true when this tab is behind the leader. */
  async #take(m: Shared): Promise<boolean | void> {
    const { cursor, take, live, to, disconnected } = this.#o;
    if ("type" in m) return take(m);
    if (m.end) throw disconnected(m.end);
    if (m.at !== undefined) {
      if (m.check || m.at > cursor()!) return (this.#alone = true);
      await live(m.at);
    }
    to(m.state);
  }

  #post(more?: Partial<Status>): void { this.#send({ ...this.#status, ...more }); }

  #send(m: Message): void { this.#channel.postMessage(m); }
}
