import { lost, TaskFeedError } from "./errors.js";
import { Inbox } from "./inbox.js";
import { renewAt, type Credential } from "./token.js";

/** Silence after which the other side is asked whether it is there. */
const askAfter = 25_000;
/** How long an answer may take; the opening of a connection may take half as long again. */
const answerWithin = 10_000;
/** A timer that fires this much too late says that the page was asleep, not that the peer is dead. */
const asleep = 3_000;
/** How long a connection must last to count as stable. */
const stableAfter = 5_000;

/** Milliseconds on a clock that nobody sets. */
const now = (): number => performance.now();

/** What a transport tells the session. */
export interface Sink {
  open(): void;
  /** Bytes came, of whatever kind. */
  heard(): void;
  text(text: string): void;
  /** The server's own wish for the least wait, in milliseconds. */
  retry(delay: number): void;
  /** Is fulfilled when there is room for more. */
  drained(): Promise<void> | undefined;
  end(error?: TaskFeedError): void;
}

/** What a session can do with an open connection. */
export interface Link {
  /** Asks for an answer; a transport that cannot has the server send by itself. */
  ask?(): void;
  /** Sends a new token; without it the session ends to begin anew with it. */
  auth?(token: string): void;
  close(): void;
}

export interface SessionOptions<T> {
  connect(sink: Sink): Link;
  inbox?: Inbox<T>;
  /** Puts what a text says into the inbox. */
  text(text: string): void;
  onOpen?(): void;
  onRetry?(delay: number): void;
  credential?: Credential;
  /** Returns a new credential, or undefined when there is none yet. */
  renew?(): Promise<Credential | undefined>;
  patience?: number;
}

/**
 * One connection's life: it watches that the peer is there and renews the token.
 * It owns one timer, and ends with close or with the end of its inbox.
 */
export class Session<T> {
  readonly inbox: Inbox<T>;
  /** The server sent something, so it took the token. */
  accepted = false;
  readonly #o: SessionOptions<T>;
  readonly #link: Link;
  #opened = 0;
  #heard = -1;
  #asked = now(); // an answer is due while it is later than heard
  #due = 0;
  #renewAt = Infinity;
  #closed = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: SessionOptions<T>) {
    this.#o = options;
    this.inbox = options.inbox ?? new Inbox();
    if (options.credential) this.#renewAt = renewAt(options.credential);
    const guard = <A extends unknown[]>(f: (...args: A) => void) => (...args: A): void => {
      if (!this.#closed) f(...args);
    };
    const heard = guard(() => { this.#heard = now(); });
    this.#link = options.connect({
      open: guard(() => {
        heard();
        this.#opened = now();
        options.onOpen?.();
        this.poke();
      }),
      heard,
      text: guard((text) => {
        heard();
        this.accepted = true;
        try {
          options.text(text);
        } catch (error) {
          this.inbox.end(error);
        }
      }),
      retry: guard((delay) => options.onRetry?.(delay)),
      drained: () => this.inbox.drained(),
      end: guard((error) => this.inbox.end(error)),
    });
    this.#arm();
  }

  get stable(): boolean { return this.#opened > 0 && now() - this.#opened >= stableAfter; }

  /** Asks at once whether the peer is there: the network may have changed. */
  poke(): void {
    if (!this.#opened || this.#closed) return;
    this.#asked = now();
    this.#link.ask?.();
    this.#arm();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#link.close();
  }

  get #patience(): number { return this.#o.patience ?? (this.#opened ? answerWithin : answerWithin * 1.5); }

  #arm(): void {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    const next = this.#asked > this.#heard ? this.#asked + this.#patience : this.#heard + askAfter;
    this.#due = Math.max(now(), Math.min(next, now() + this.#renewAt - Date.now()));
    this.#timer = setTimeout(() => this.#tick(), this.#due - now());
  }

  #tick(): void {
    const late = now() - this.#due > asleep;
    if (this.inbox.busy) this.#heard = now(); // the handlers are slow: it is we who do not listen
    if (this.#asked > this.#heard) {
      if (late) this.#asked = now();
      else if (now() - this.#asked >= this.#patience) this.inbox.end(lost("the server does not answer"));
    }
    if (this.#opened && (late || now() - this.#heard >= askAfter) && this.#asked <= Math.max(this.#heard, now() - (late ? 0 : Infinity))) this.poke();
    if (Date.now() >= this.#renewAt) void this.#renew();
    this.#arm();
  }

  async #renew(): Promise<void> {
    this.#renewAt = Infinity;
    let next: Credential | undefined;
    try {
      next = await this.#o.renew?.();
    } catch (error) {
      this.inbox.end(error);
    }
    if (this.#closed) return;
    const old = this.#o.credential!;
    if (next && next.token !== old.token) {
      this.#o.credential = next;
      if (this.#link.auth) this.#link.auth(next.token);
      else this.inbox.end(); // and again with the new one
    }
    this.#renewAt = renewAt(this.#o.credential!);
    this.#arm();
  }
}
