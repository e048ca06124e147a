import { lost, type TaskFeedError } from "./errors.js";
import type { Inbox } from "./inbox.js";
import { renewAt, type Credential } from "./token.js";

/** Silence after which the peer is pinged. */
const askAfter = 25_000;
/** How long an answer may take, and how long opening a connection may. */
const answerWithin = 10_000;
const openWithin = 15_000;
/** Silence after which a stream, which cannot be pinged, is given up: the default, and what is added to the interval that the server announces. */
const silentFor = 35_000;
const slack = 20_000;
/** A timer that fires this much too late shows that the page was asleep, not that the peer is dead. */
const asleep = 3_000;
/** How long a connection must last to count as stable. */
const stableAfter = 5_000;

/** Milliseconds of a monotonic clock. */
const now = (): number => performance.now();

/** The callbacks of a transport to its session. */
export interface Sink {
  open(): void;
  /** Bytes of any kind have arrived. */
  heard(): void;
  /** The server announces its interval of comments. */
  silence(ms: number): void;
  text(text: string): void;
  end(error?: TaskFeedError): void;
  /** Resolves when there is room for more. */
  drained(): Promise<void> | undefined;
}

/** The operations of a transport. */
export interface Link {
  /** Sends a ping. A transport without it relies on comments that the server sends regularly. */
  ask?(): void;
  /** Sends a new token. Without it, the session ends, so that the next one uses the new token. */
  auth?(token: string): void;
  close(): void;
}

export interface SessionOptions {
  connect(sink: Sink): Link;
  inbox: Inbox<any>;
  /** Parses a text and puts it into the inbox. */
  text?(text: string): void;
  onOpen?(): void;
  credential?: Credential;
  /** Returns a new credential, or undefined when there is none yet. */
  renew?(): Promise<Credential | void>;
  patience?: number;
}

/** One connection. It ends with close, or when the peer, the transport or an invalid text ends the inbox. */
export interface Session {
  /** The server has sent a frame, so it has accepted the token. */
  accepted: boolean;
  stable(): boolean;
  /** Pings at once, where the transport can: the network may have changed. */
  poke(): void;
  close(): void;
  end(): void;
}

/** Connects, monitors the peer and renews the token. Owns one timer. */
export function newSession({ connect, inbox, text, onOpen, credential, renew, patience }: SessionOptions): Session {
  let opened!: number; // undefined: not yet
  let since = now(); // when the peer last sent something, or was pinged
  let waiting = true; // for an answer; always true where the transport cannot ping
  let limit = patience ?? openWithin; // of that wait
  let again = false; // the peer was pinged twice without an answer
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
    if (inbox.head()) heard(); // the handlers are slow, not the peer
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
