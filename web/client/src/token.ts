import { lost, notGiven } from "./errors.js";
import type { FeedOptions, TokenReason } from "./types.js";

/** A token and when it expires, in ms since 1970; Infinity: unknown. */
export interface Credential {
  token: string;
  expires: number;
}

/**
 * Reads the expiry time from a JWT. A token that has expired by the local clock counts as
 * one with an unknown expiry time: only the server's clock decides. Throws `connection` when
 * the text cannot be a token, such as a page of a proxy: the app may have one later.
 */
export function credential(text: unknown): Credential {
  const token = typeof text === "string" ? text.trim() : "";
  if (!/^[\w!#$%&'*+.^`|~-]+$/.test(token)) {
    throw lost("getToken returned no token");
  }
  let expires = NaN;
  try {
    expires = JSON.parse(atob(token.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/"))).exp * 1000;
  } catch {
    // not a JWT: the server says when it has expired
  }
  return { token, expires: expires > Date.now() ? expires : Infinity };
}

/** When to renew: a minute before the end, or at half the time left. Infinity: never. */
export function renewAt({ expires }: Credential): number {
  const left = expires - Date.now();
  return left < 1000 ? Infinity : Date.now() + Math.max(left - 60_000, left / 2);
}

/** Gets tokens from the app and keeps the last one. */
export interface Tokens {
  /** Returns the token to connect with. Rejects with `connection` when the app may have one later. */
  get(): Promise<Credential>;
  /** Asks the app for a new token. Calls during a request share its answer. */
  ask(reason: TokenReason): Promise<Credential>;
  /** Records that the server has refused the token. */
  refused(): void;
}

export function newTokens(getToken: FeedOptions["getToken"], signal: AbortSignal): Tokens {
  let held: Credential | undefined;
  let reason: TokenReason | undefined = "initial"; // of the next request; undefined: use the held token
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
