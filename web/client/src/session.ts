import { lost, type TaskFeedError } from "./errors.js";
import type { Inbox } from "./inbox.js";
import { renewAt, type Credential } from "./token.js";

/** Silence after which the other side is asked whether it is there. */
const askAfter = 25_000;
/** How long an answer may take, and the opening of a connection. */
const answerWithin = 10_000;
const openWithin = 15_000;
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
  text(text: string): void;
  end(error?: TaskFeedError): void;
  /** Is fulfilled when there is room for more. */
  drained(): Promise<void> | undefined;
}

/** What a session can do with its transport. */
export interface Link {
  /** Asks for an answer. A transport that cannot has a server that sends by itself. */
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
  /** Asks at once whether the peer is there: the network may have changed. */
  poke(): void;
  close(): void;
  end(): void;
}

/** Connects, watches that the peer is there and renews the token. Owns one timer. */
export function newSession({ connect, inbox, text, onOpen, credential, renew, patience }: SessionOptions): Session {
  let opened = NaN; // not yet
  let heardAt = 0;
  let askedAt = now();
  let waiting = true; // for an answer, since askedAt
  let due = 0;
  let renewal = credential ? renewAt(credential) : Infinity;
  let closed = false;
  let timer: ReturnType<typeof setTimeout>;
  const heard = (): void => {
    heardAt = now();
    waiting = false;
  };
  const ask = (): void => {
    askedAt = now();
    waiting = true;
    if (opened >= 0) link.ask?.();
  };
  const within = (): number => patience ?? (opened >= 0 ? answerWithin : openWithin);
  const arm = (): void => {
    clearTimeout(timer);
    if (closed) return;
    due = Math.min(waiting ? askedAt + within() : heardAt + askAfter, now() + renewal - Date.now());
    timer = setTimeout(tick, due - now());
  };
  const tick = (): void => {
    if (inbox.head()) heard(); // it is we who do not listen
    if (now() - due > asleep) ask();
    else if (waiting && now() - askedAt >= within()) inbox.end(lost("the server does not answer"));
    else if (!waiting && now() - heardAt >= askAfter) ask();
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
      if (closed || isNaN(opened)) return;
      ask();
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
      onOpen?.();
      session.poke();
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
