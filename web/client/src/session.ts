import { lost, type TaskFeedError } from "./errors.js";
import type { Inbox } from "./inbox.js";
import { renewAt, type Credential } from "./token.js";

/** Silence after which the other side is asked whether it is there. */
const askAfter = 25_000;
/** How long an answer may take, and the opening of a connection. */
const answerWithin = 10_000;
const openWithin = 15_000;
/** Silence after which a server that cannot be asked is given up: its own time between two comments and some more, and as long where it does not say. */
const silentFor = 35_000;
const slack = 20_000;
/** A timer that fires this much too late says that the page was asleep, not that the peer is dead. */
const asleep = 3_000;
/** How long a connection must last to count as stable. */
const stableAfter = 5_000;

/** Milliseconds on a clock that nobody sets. */
const now = (): number => performance.now();

/** What a transport tells its session. */
export interface Sink {
  open(): void;
  /** Bytes came, of whatever kind. */
  heard(): void;
  /** The server says after how many milliseconds it breaks its silence. */
  silence(ms: number): void;
  text(text: string): void;
  end(error?: TaskFeedError): void;
  /** Is fulfilled when there is room for more. */
  drained(): Promise<void> | undefined;
}

/** What a session can do with its transport. */
export interface Link {
  /** Asks for an answer. A transport that cannot has a server that sends by itself, now and then. */
  ask?(): void;
  /** Sends a new token. Where it cannot, the session ends to begin anew with it. */
  auth?(token: string): void;
  close(): void;
}

export interface SessionOptions {
  connect(sink: Sink): Link;
  inbox: Inbox<any>;
  /** Puts what a text says into the inbox. */
  text?(text: string): void;
  onOpen?(): void;
  credential?: Credential;
  /** Returns a new credential, or nothing when there is none yet. */
  renew?(): Promise<Credential | void>;
  patience?: number;
}

/** One connection's life. It ends with close, or when the peer, the transport or a bad text ends the inbox. */
export interface Session {
  /** The server sent something, so it took the token. */
  accepted: boolean;
  stable(): boolean;
  /** Asks at once whether the peer is there, where it can be asked: the network may have changed. */
  poke(): void;
  close(): void;
  end(): void;
}

/** Connects, watches that the peer is there and renews the token. Owns one timer. */
export function newSession({ connect, inbox, text, onOpen, credential, renew, patience }: SessionOptions): Session {
  let opened!: number; // undefined: not yet
  let since = now(); // when it was heard of last, or asked
  let waiting = true; // for an answer; always where it cannot be asked for one
  let limit = patience ?? openWithin; // of the waiting
  let again = false; // the answer has had its time twice
  let due = 0;
  let renewal = credential ? renewAt(credential) : Infinity;
  let closed = false;
  let timer: ReturnType<typeof setTimeout>;
  const heard = (): void => {
    since = now();
    waiting = !link.ask;
    again = false;
  };
  const ask = (): void => {
    since = now();
    again = waiting;
    waiting = true;
    if (opened >= 0) link.ask?.();
  };
  const over = (): number => since + (waiting ? limit : askAfter);
  const arm = (): void => {
    clearTimeout(timer);
    if (closed) return;
    due = Math.min(over(), now() + renewal - Date.now());
    timer = setTimeout(tick, due - now());
  };
  const tick = (): void => {
    if (inbox.head()) heard(); // it is we who do not listen
    const isOver = now() >= over();
    if (isOver && !waiting || now() - due > asleep && !again) ask();
    else if (isOver) inbox.end(lost("the server does not answer"));
    if (Date.now() >= renewal) void renewNow();
    arm();
  };
  const renewNow = async (): Promise<void> => {
    renewal = Infinity;
    const next = await renew!().catch(inbox.end);
    if (closed) return;
    if (next && next.token !== credential!.token) link.auth ? link.auth(next.token) : inbox.end();
    renewal = renewAt((credential = next || credential!));
    arm();
  };
  const session: Session = {
    accepted: false,
    stable: () => now() - opened >= stableAfter,
    poke() {
      if (!closed && !again && opened >= 0 && link.ask) ask();
      arm();
    },
    close() {
      closed = true;
      clearTimeout(timer);
      link.close();
    },
    end: () => inbox.end(),
  };
  const link = connect({
    heard,
    open() {
      heard();
      opened = now();
      limit = patience ?? (link.ask ? answerWithin : silentFor);
      onOpen?.();
      session.poke();
    },
    silence(ms) {
      limit = Math.min(ms, 1e8) + slack;
      arm();
    },
    text(t) {
      heard();
      session.accepted = true;
      try {
        if (!inbox.ended()) text!(t);
      } catch (error) {
        inbox.end(error);
      }
    },
    end: inbox.end,
    drained: inbox.drained,
  });
  arm();
  return session;
}
