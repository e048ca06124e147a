import { notGiven, TaskFeedError } from "./errors.js";
import type { FeedOptions, TokenReason } from "./types.js";

/** A token and when it expires, in ms since 1970; Infinity: unknown. */
export interface Credential {
  token: string;
  expires: number;
}

/**
 * Reads the time of expiry out of a JWT. A token that has expired by our clock
 * has an unknown one: it is the server's clock that counts.
 */
export function credential(text: unknown): Credential {
  const token = typeof text === "string" ? text.trim() : "";
  if (!/^[\w!#$%&'*+.^`|~-]+$/.test(token)) {
    throw new TaskFeedError("token", "getToken returned no token");
  }
  let expires = NaN;
  try {
    expires = JSON.parse(atob(token.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/"))).exp * 1000;
  } catch {
    // no JWT: the server will tell when it has expired
  }
  return { token, expires: expires > Date.now() ? expires : Infinity };
}

/** When to renew: a minute before the end, or at half the time left. Infinity: never. */
export function renewAt({ expires }: Credential): number {
  const left = expires - Date.now();
  return left < 1000 ? Infinity : Date.now() + Math.max(left - 60_000, left / 2);
}

/** Asks the app for tokens and keeps the last one. */
export interface Tokens {
  /** Returns the token to connect with. Rejects with `connection` where it may come later. */
  get(): Promise<Credential>;
  /** Asks for a new token. Who asks while the app is at it gets the same answer. */
  ask(reason: TokenReason): Promise<Credential>;
  /** Notes that the server has refused the token. */
  refused(): void;
}

export function newTokens(getToken: FeedOptions["getToken"], signal: AbortSignal): Tokens {
  let held: Credential | undefined;
  let reason: TokenReason | undefined = "initial"; // to ask with; undefined: the held one will do
  let asking: Promise<Credential> | undefined;
  const expired = (): boolean => held!.expires <= Date.now();
  const request = async (why: TokenReason): Promise<Credential> => {
    let text;
    try {
      text = await getToken({ reason: why, signal });
    } catch (cause) {
      throw notGiven("getToken", cause);
    }
    held = credential(text);
    reason = undefined;
    return held;
  };
  const ask = (why: TokenReason): Promise<Credential> => (asking ??= request(why).finally(() => { asking = undefined; }));
  return {
    ask,
    async get() {
      if (!reason && expired()) reason = "expired";
      return reason ? ask(reason) : held!;
    },
    refused: () => { reason = expired() ? "expired" : "rejected"; },
  };
}
