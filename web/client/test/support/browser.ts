import { vi } from "vitest";
import type { WebSocketClass } from "../../src/types.js";
import { event, FakeSocket, live, reset } from "./fake.js";

type Listener = (event: { data: unknown }) => void;

/** A fake browser with tabs that share locks and channels, and can crash. */
export class FakeBrowser {
  readonly channels: FakeChannel[] = [];
  /** Called when a tab has joined. */
  onJoin = (): void => {};
  readonly #queues = new Map<string, Waiting[]>(); // the first of each holds the lock

  /** Replaces the environment's APIs by the browser's. */
  install(): void {
    const browser = this;
    vi.stubGlobal("BroadcastChannel", class extends FakeChannel {
      constructor(name: string) { super(browser, name); }
    });
    vi.stubGlobal("navigator", { locks: { request: this.#request } });
  }

  #request = (name: string, { signal }: { signal: AbortSignal }, work: () => Promise<unknown>): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const queue = this.#queues.get(name) ?? [];
      this.#queues.set(name, queue);
      const waiting: Waiting = { channel: this.channels.at(-1)!, grant: async () => resolve(await work()) };
      queue.push(waiting);
      const leave = (): void => this.#leave(queue, waiting);
      signal.addEventListener("abort", () => {
        if (queue[0] === waiting) return; // it has the lock: work ends by itself
        leave();
        reject(signal.reason);
      });
      void waiting.grant;
      const grant = waiting.grant;
      waiting.grant = async () => { await grant(); leave(); };
      if (queue[0] === waiting) setImmediate(() => void waiting.grant());
    });

  #leave(queue: Waiting[], waiting: Waiting): void {
    const at = queue.indexOf(waiting);
    if (at < 0) return;
    queue.splice(at, 1);
    if (at === 0) setImmediate(() => void queue[0]?.grant());
  }

  /** Ends a tab as a crash does: its last messages reach some tabs and not others. */
  crash(channel: FakeChannel, random: () => number): void {
    for (const other of this.channels) if (random() < 0.5) other.drop(channel);
    channel.dead = true;
    for (const queue of this.#queues.values()) {
      const waiting = queue.find((w) => w.channel === channel);
      if (waiting) this.#leave(queue, waiting);
    }
  }
}

interface Waiting { channel: FakeChannel; grant(): Promise<void> }

/** A BroadcastChannel that delivers in order, and to each receiver in its own time. */
export class FakeChannel {
  onmessage: Listener | null = null;
  dead = false;
  frozen = false;
  #waiting: [from: FakeChannel, data: unknown][] = [];

  constructor(private readonly browser: FakeBrowser, readonly name: string) {
    browser.channels.push(this);
    browser.onJoin();
  }

  postMessage(data: unknown): void {
    if (this.dead) return;
    for (const other of this.browser.channels) {
      if (other !== this && other.name === this.name && !other.dead) other.#enqueue(this, structuredClone(data));
    }
  }

  #enqueue(from: FakeChannel, data: unknown): void {
    this.#waiting.push([from, data]);
    setImmediate(() => this.deliver());
  }

  deliver(): void {
    if (this.dead || this.frozen) return;
    const next = this.#waiting.shift();
    if (next) this.onmessage?.({ data: next[1] });
  }

  drop(from: FakeChannel): void { this.#waiting = this.#waiting.filter(([sender]) => sender !== from); }

  /** Freezes a tab: it runs nothing, and later gets all missed messages. */
  thaw(): void {
    this.frozen = false;
    while (this.#waiting.length) this.deliver();
  }

  close(): void { this.dead = true; }
}

/** A server with a log in memory. */
export class FakeLog {
  head = 0;
  oldest = 1;
  readonly events = new Map<number, object>();
  readonly sockets: LogSocket[] = [];
  readonly WebSocket: WebSocketClass;

  constructor() {
    const log = this;
    this.WebSocket = class extends LogSocket {
      constructor(url: string, protocols: string[]) { super(log, url, protocols); }
    };
  }

  get open(): LogSocket[] { return this.sockets.filter((s) => !s.gone); }

  append(n = 1, more?: object): void {
    for (; n > 0; n--) {
      const e = event(++this.head, more);
      this.events.set(this.head, e);
      for (const s of this.open) if (s.live) s.deliver(e);
    }
  }
}

export class LogSocket extends FakeSocket {
  live = false;

  constructor(private readonly log: FakeLog, url: string, protocols: string[]) {
    super(url, protocols);
    log.sockets.push(this);
    setImmediate(() => {
      if (this.gone) return;
      this.open();
      this.#replay();
    });
  }

  get gone(): boolean { return this.closed || this.cut; }
  cut = false;

  #replay(): void {
    const { head, oldest } = this.log;
    const after = this.after === null ? head : Number(this.after);
    if (after > head) this.deliver(reset("ahead", head));
    else if (after && after < oldest - 1) this.deliver(reset("expired", head));
    else for (let id = Math.max(after + 1, oldest); id <= head; id++) this.deliver(this.log.events.get(id)!);
    this.deliver(live(head));
    this.live = true;
  }

  deliver(frame: object): void { if (!this.gone) this.say(frame); }

  override send(text: string): void {
    super.send(text);
    if (text === "ping") setImmediate(() => { if (!this.gone) this.say("pong"); });
  }

  /** Cuts the connection. */
  break(code = 1006): void {
    this.cut = true;
    this.shut(code);
  }
}
