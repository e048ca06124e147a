import { because, lost, notGiven, report, TaskFeedError } from "./errors.js";
import { isID, readFrame, type Frame } from "./frame.js";
import { newInbox } from "./inbox.js";
import { loadShare } from "./load.js";
import { settle, type Settings } from "./options.js";
import { newRetry, type Retry } from "./retry.js";
import { newSession, type Session, type SessionOptions } from "./session.js";
import { send } from "./send.js";
import type { Share } from "./share.js";
import { openStream, statusError } from "./sse.js";
import { newTokens, type Tokens } from "./token.js";
import { newCounter, type Counter } from "./unread.js";
import type {
  CustomEvents, FeedEvent, FeedOptions, Handler, HandlerMap, MessageOptions, ResetReason, Snapshot, SnapshotReason, State, StateChange,
  UnknownEvent, Unread,
} from "./types.js";
import { openSocket } from "./websocket.js";

/** Names for `on` that are not types of events. An event whose type has such a name goes only to `event`. */
const signals = ["event", "state", "reset", "gap", "snapshot", "unread"];

/** Thrown within a handler, it ends the feed without an error. */
const left = {};

/** Runs code of the app; if it fails, the feed ends with the code. */
async function guard<T>(code: "handler" | "store", work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw cause === left ? cause : new TaskFeedError(code, `${code} failed${because(cause)}`, { cause });
  }
}

function check(cursor: number | null | undefined, what: string): void {
  if (cursor != null && !isID(cursor, 0)) throw new TaskFeedError("store", what + " is no event's id");
}

/**
 * One user's feed: every event after the cursor, each once and in order, over any
 * number of connections. Handlers run one after the other; the cursor advances, and is
 * saved, when the handlers of an event have returned.
 */
export class TaskFeed<C extends CustomEvents = {}> {
  readonly #o: Settings;
  readonly #handlers = new Map<string, Set<Handler<any>>>();
  #state: State = "idle";
  #cursor: number | undefined; // undefined: live events only, none seen yet

  #abort = new AbortController(); // of the current run; aborted: none
  #done: Promise<void> = Promise.resolve();
  #handling = false;
  #cancel = (): void => {}; // ends any wait of the feed except for handlers
  #session: Session | undefined;
  #tokens!: Tokens;
  #retry!: Retry;
  #due = false; // a snapshot must be loaded
  #share: Share | undefined;

  readonly #counter: Counter;
  #mark = 0; // how far the app has marked
  #written = 0; // and the server has written
  #marking: Promise<void> | undefined;

  /** Throws a `config` error that names every invalid option. Does not connect yet. */
  constructor(options: FeedOptions) {
    this.#o = settle(options);
    this.#counter = newCounter(options.types);
    this.#abort.abort();
    if (options.onState) this.on("state", options.onState);
  }

  get state(): State { return this.#state; }

  /** The id of the last event that was handled, or undefined. */
  get cursor(): number | undefined { return this.#cursor; }

  /**
   * Calls the handler with each event of the type, or for another name of `HandlerMap`,
   * and waits for the promise that it returns. Returns a function that removes the handler.
   */
  on<K extends keyof HandlerMap<C> & string>(type: K, handler: Handler<HandlerMap<C>[K]>): () => void;
  on(type: string, handler: Handler<UnknownEvent>): () => void;
  on(type: string, handler: Handler<any>): () => void {
    let set = this.#handlers.get(type);
    if (!set) this.#handlers.set(type, (set = new Set()));
    set.add(handler);
    return () => this.off(type, handler);
  }

  off(type: string, handler: Handler<any>): void {
    this.#handlers.get(type)?.delete(handler);
  }

  /** How many events are unread. Undefined without the option `unread`, and until the server has counted. */
  get unread(): Unread | undefined { return this.#counter.view(); }

  /**
   * Marks everything up to an event as read, by default all that was handled. Resolves when the server has written
   * that, at most once a second. After a failure the feed tries again when it is live.
   */
  markRead(through = this.#cursor ?? 0): Promise<void> {
    this.#mark = Math.max(this.#mark, through);
    this.#seen(through);
    return (this.#marking ??= this.#writeMark().finally(() => { this.#marking = undefined; }));
  }

  async #writeMark(): Promise<void> {
    while (this.#written < this.#mark) {
      const through = this.#mark;
      await this.#ask(through);
      this.#written = through;
    }
  }

  /** Whether the feed is connected or not. */
  #anyTokens(): Tokens { return (this.#tokens ??= newTokens(this.#o.getToken, new AbortController().signal)); }

  /** Asks how much is unread, or moves the mark. */
  async #ask(through?: number): Promise<any> {
    const { fetch, marks } = this.#o;
    const { token } = await this.#anyTokens().get();
    const answer = await fetch(marks(through), { method: through === undefined ? "GET" : "PUT", headers: { Authorization: "Bearer " + token } });
    if (!answer.ok) throw await statusError(answer, token);
    return answer.json();
  }

  #seen(through: number): void {
    const again = this.#counter.read(through);
    if (again) this.#count();
    if (again !== undefined) this.#bell();
  }

  #count(): void {
    if (this.#o.unread) this.#ask().then((counted) => {
      this.#counter.counted(counted);
      this.#bell();
    }).catch(() => {}); // when the feed is live again it asks again
  }

  #bell(): void {
    const unread = this.unread;
    if (unread) this.#tell("unread", unread);
  }

  /** Starts the feed, unless it is running. A feed that has ended resumes from its cursor. */
  connect(): void {
    if (this.#runs) return;
    const abort = (this.#abort = new AbortController());
    this.#to("connecting");
    this.#done = this.#done.then(async () => {
      let error: TaskFeedError | undefined;
      try {
        await this.#run(abort.signal);
      } catch (e) {
        if (e !== left) error = e instanceof TaskFeedError ? e : new TaskFeedError("config", "cannot connect" + because(e), { cause: e });
      }
      abort.abort();
      if (this.#abort === abort) this.#to("closed", { error }); // else it has been started again
    });
  }

  get #runs(): boolean { return !this.#abort.signal.aborted; }

  /** Connects, and resolves when the feed is live; rejects when it ends before. */
  ready(): Promise<void> {
    this.connect();
    return new Promise((resolve, reject) => {
      if (this.#state === "live") return resolve();
      const off = this.on("state", ({ state, error }) => {
        if (state === "live") resolve();
        else if (state === "closed") reject(error ?? new TaskFeedError("closed", "the feed was closed"));
        else return;
        off();
      });
    });
  }

  /**
   * Ends the feed. No handler is called any more. While a handler is running, which may
   * be the caller, close does not wait for it.
   */
  async close(): Promise<void> {
    this.#abort.abort();
    this.#cancel();
    this.#session?.end();
    if (!this.#handling) await this.#done;
  }

  /**
   * Sends the app a message and resolves with its id when the server has stored it. It is
   * sent again until the server answers, whether the feed is connected or not, and the app
   * gets it once. Rejects when the server refuses it; the error's `reason` says why.
   */
  send(topic: string, { taskId, data, signal }: MessageOptions = {}): Promise<number> {
    return send(this.#o, this.#anyTokens(), { topic, task_id: taskId, data }, signal);
  }

  /**
   * Connects, and yields the events one by one; the next event waits until the loop asks
   * for it. If the loop started the feed, leaving the loop ends the feed, and the event
   * at which it was left comes again later. On a feed that was already running, the loop
   * is like a handler. Throws the error that ends the feed.
   */
  async *events({ signal }: { signal?: AbortSignal } = {}): AsyncGenerator<FeedEvent<C>, void, void> {
    if (signal?.aborted) return;
    const own = !this.#runs;
    let event: any;
    let taken = (_whole: boolean): void => {};
    let wake = (): void => {};
    let end: StateChange | undefined;
    const stop = (): void => wake();
    const offs = [
      this.on("event", (e) => new Promise<void>((resolve, reject) => {
        event = e;
        taken = (whole) => (whole ? resolve() : reject(left));
        wake();
      })),
      this.on("state", (change) => {
        end = change.state === "closed" ? change : undefined;
        wake();
      }),
    ];
    signal?.addEventListener("abort", stop);
    try {
      this.connect();
      while (!signal?.aborted) {
        if (event) {
          yield event;
          event = undefined;
          taken(true);
        } else if (end) {
          if (end.error) throw end.error;
          return;
        } else {
          await new Promise<void>((resolve) => { wake = resolve; });
        }
      }
    } finally {
      signal?.removeEventListener("abort", stop);
      for (const off of offs) off();
      taken(!own);
      if (own) await this.close();
    }
  }

  async #run(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    await this.#load();
    this.#tokens = newTokens(this.#o.getToken, signal);
    this.#retry = newRetry(this.#o);
    this.#due = !!this.#o.loadSnapshot;
    const hurry = ({ type }: Event): void => {
      if (type !== "online" && document.hidden) return;
      if (this.#state === "waiting") this.#cancel();
      this.#session?.poke();
    };
    for (const type of ["online", "visibilitychange", "pageshow", "resume"]) globalThis.addEventListener?.(type, hurry, { signal, capture: true });
    let end: TaskFeedError | undefined;
    try {
      if (this.#o.shared) this.#share = await this.#join();
      while (!signal.aborted) await this.#attempt(signal);
    } catch (e) {
      end = e as TaskFeedError;
      throw e;
    } finally {
      this.#share?.close(end);
      this.#share = undefined;
    }
  }

  /** Joins the browser's other tabs; returns undefined where that is not possible. */
  async #join(): Promise<Share | undefined> {
    if (!globalThis.BroadcastChannel || !globalThis.navigator?.locks) return;
    try {
      const { Share } = await loadShare();
      return new Share({
        name: "taskfeed1 " + this.#o.address("websocket"), inbox: newInbox(), readFrame,
        onLead: () => this.#session?.end(),
        cursor: () => this.#cursor,
        serve: (session, take) => this.#serve(session, take),
        take: (frame) => this.#take(frame),
        live: (cursor) => this.#live(cursor),
        to: (state) => this.#to(state),
        disconnected: (message) => new TaskFeedError("disconnected", message),
      });
    } catch {
      return; // each tab has its own connection
    }
  }

  /** Makes a connection, serves it to its end, and waits before the next one. */
  async #attempt(signal: AbortSignal): Promise<void> {
    this.#session = undefined;
    let delay = 0;
    try {
      this.#to("connecting");
      if (this.#due) await this.#start(signal);
      if (signal.aborted) return;
      await (this.#share?.follows ? this.#share.follow() : this.#read(this.#share));
    } catch (e) {
      const error = e as TaskFeedError;
      delay = this.#retry.after(error, this.#session);
      if (error.code === "rejected") this.#tokens.refused();
      if (signal.aborted) return;
      this.#to("waiting", { error, delay });
    }
    if (!delay || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, delay);
      this.#cancel = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Reads from the server, also for the other tabs if this one is their leader. */
  async #read(share?: Share): Promise<void> {
    const { WebSocket, fetch, address } = this.#o;
    const { transport, least } = this.#retry;
    const credential = await this.#wait(this.#tokens.get());
    const { token } = credential;
    const leads = share?.leads;
    if (leads) share!.lead();
    const inbox = newInbox<Frame>();
    await this.#serve({
      inbox, credential,
      connect: (sink) => {
        const url = address(transport(), this.#cursor);
        return transport() === "sse" ? openStream(fetch, url, token, sink, least) : openSocket(WebSocket, url, token, sink);
      },
      onOpen: () => this.#to("replaying"),
      text: (text) => {
        const frame = readFrame(text);
        if (!frame) return;
        if (leads) share!.publish(frame, text);
        if (!inbox.push(frame, text.length)) inbox.end(); // full: reconnect later for the rest
      },
      renew: () => this.#tokens.ask("expired").catch((e) => {
        if (e.code !== "connection") throw e;
      }),
    }, async (frame) => {
      await this.#take(frame);
      return share?.reached();
    });
  }

  /** Serves a connection: calls `take` with each item until the connection ends or `take` returns true. */
  async #serve(options: SessionOptions, take: (item: any) => Promise<boolean | void>): Promise<void> {
    const { signal } = this.#abort;
    const { inbox } = options;
    const session = this.#session = newSession(options);
    try {
      for (let item; (item = await inbox.next()) && !signal.aborted && !await take(item); ) inbox.shift();
    } finally {
      session.close();
      this.#retry.note(session);
    }
  }

  async #take(f: Frame): Promise<void> {
    if (f.type === "feed_live") {
      await this.#live((f as { cursor: number }).cursor);
      this.#to("live");
    } else if (f.type === "feed_reset") {
      await this.#reset(f as { cursor: number; reason: ResetReason });
      this.#to("live");
    } else if (f.type === "feed_read") {
      this.#seen((f as { through: number }).through);
    } else {
      await this.#event(f as FeedEvent);
    }
  }

  async #event(e: FeedEvent): Promise<void> {
    if (e.id <= this.#cursor!) return; // the client rule
    if (this.#o.unread && this.#counter.add(e)) this.#bell();
    const { types, taskId } = this.#o;
    if ((!types?.length || types.includes(e.type)) && (!taskId || e.task_id === taskId)) {
      await this.#emit("event", e);
      if (!signals.includes(e.type)) await this.#emit(e.type, e);
    }
    await this.#moveTo(e.id);
  }

  /** Every event up to the cursor has been handled. */
  async #live(cursor: number): Promise<void> {
    if (this.#due) await this.#show("start", await this.#snapshot("start"));
    if (!(cursor <= this.#cursor!)) await this.#moveTo(cursor);
  }

  async #reset({ cursor, reason }: { cursor: number; reason: ResetReason }): Promise<void> {
    const from = this.#cursor!;
    if (!this.#o.loadSnapshot && !["reset", "gap"].some((type) => this.#handlers.get(type)?.size)) {
      await this.#moveTo(cursor);
      throw new TaskFeedError("reset", "events were missed for good: give loadSnapshot, or handle reset");
    }
    const snapshot = await this.#snapshot(reason);
    if (reason === "expired") await this.#emit("gap", { from, to: cursor });
    await this.#emit("reset", { reason, from, cursor });
    const own = await this.#show(reason, snapshot) ?? cursor;
    await this.#moveTo(own);
    if (own < cursor) throw lost("the snapshot is older than the feed");
  }

  /** Loads the snapshot before the first connection. With a saved cursor, any later snapshot will do. */
  async #start(signal: AbortSignal): Promise<void> {
    const cursor = await this.#show("start", await this.#snapshot("start"));
    if (this.#cursor === undefined && cursor != null && !signal.aborted) await this.#moveTo(cursor);
    this.#due = this.#cursor === undefined; // without any cursor, it must be loaded again when the feed is live
  }

  async #snapshot(reason: SnapshotReason): Promise<Snapshot | undefined> {
    const { loadSnapshot } = this.#o;
    if (!loadSnapshot) return;
    let snapshot;
    try {
      snapshot = await this.#wait(Promise.resolve(loadSnapshot({ reason, signal: this.#abort.signal })));
    } catch (cause) {
      throw notGiven("loadSnapshot", cause);
    }
    check(snapshot.cursor, "the snapshot's cursor");
    return snapshot;
  }

  async #show(reason: SnapshotReason, snapshot?: Snapshot): Promise<number | null | undefined> {
    if (snapshot) await this.#emit("snapshot", { ...snapshot, reason });
    this.#due = false;
    return snapshot?.cursor;
  }

  async #load(): Promise<void> {
    const { cursorStore, after } = this.#o;
    this.#cursor = await guard("store", () => cursorStore.load()) ?? after;
    check(this.#cursor, "the stored cursor");
  }

  async #moveTo(cursor: number): Promise<void> {
    this.#cursor = cursor;
    await guard("store", () => this.#o.cursorStore.save(cursor));
  }

  /** Waits for a promise of the app, but only while the feed runs. */
  #wait<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#cancel = () => reject(lost("the feed was closed"));
      work.then(resolve, reject);
    });
  }

  /** Calls the handlers one after the other and waits for each. */
  async #emit(type: string, value: object): Promise<void> {
    const { onHandlerError } = this.#o;
    this.#handling = true;
    try {
      for (const handler of [...this.#handlers.get(type) ?? []]) {
        try {
          await handler(value);
        } catch (error) {
          await guard("handler", () => {
            if (error === left || !onHandlerError) throw error;
            return onHandlerError(error, value);
          });
        }
      }
    } finally {
      this.#handling = false;
    }
  }

  #to(state: State, more?: Omit<StateChange, "state">): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#share?.tell(state);
    if (state === "live") {
      this.#count();
      if (this.#written < this.#mark) this.markRead(this.#mark).catch(() => {});
    }
    if (!this.#tell("state", { state, ...more }) && state === "closed" && more?.error) report(more.error);
  }

  /** Calls the handlers without waiting for them, and returns how many there are. */
  #tell(type: string, value: object): number {
    const handlers = [...this.#handlers.get(type) ?? []];
    for (const handler of handlers) {
      try {
        handler(value);
      } catch (error) {
        report(error);
      }
    }
    return handlers.length;
  }
}
