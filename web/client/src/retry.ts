import { TokenRejected, type TaskFeedError } from "./errors.js";
import type { Settings } from "./options.js";
import type { Session } from "./session.js";
import type { Transport } from "./types.js";

/** Failures in a row after which the next transport is tried, and the same for a transport that has worked. */
const enough = 2;
const enoughOfWinner = 6;

/** Decides after each connection whether, when and over which transport to reconnect. */
export interface Retry {
  transport(): Transport;
  /** Sets the minimum of the ceiling, as the server asks for it, in milliseconds. */
  least(delay: number): void;
  /** Returns how long to wait after the error, in milliseconds, or throws it when it ends the feed. */
  after(error: TaskFeedError, session?: Session): number;
  /** Records how a connection went; called before `after`. */
  note(session: Session): void;
}

export function newRetry({ min, max, random, transports }: Settings): Retry {
  const list = [...transports];
  let least = min;
  let ceiling = 0; // of the next wait
  let refusals = 0; // of tokens, in a row
  let failures = 0; // of the transport, in a row
  let won = false; // the transport has worked
  const next = (): void => {
    list.push(list.shift()!);
    failures = 0;
    won = false;
  };
  return {
    transport: () => list[0]!,
    least: (delay) => { least = Math.min(Math.max(delay, min), max); },
    note(session) {
      if (session.stable()) ceiling = 0;
      if (!session.accepted) return;
      refusals = failures = 0;
      won = true;
    },
    after(error, session) {
      const { code, closeCode, status, retryAfter = 0 } = error;
      if (session?.accepted && (closeCode === 1012 || closeCode === 4008)) ceiling = 0;
      if (code === "rejected" && !(error instanceof TokenRejected)) {
        if (refusals++) throw new TokenRejected(error.message, error);
      } else if (code === "refused" && status && list.length > 1) {
        list.shift(); // the server does not have this transport
      } else if (code !== "connection") {
        throw error;
      } else if (session && !session.accepted && ++failures >= (won ? enoughOfWinner : enough)) {
        next();
      }
      ceiling = Math.max(ceiling, least);
      const wait = random() * ceiling + retryAfter;
      ceiling = Math.min(ceiling * 2, max);
      return wait;
    },
  };
}
