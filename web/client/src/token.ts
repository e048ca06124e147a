import { TaskFeedError } from "./errors.js";

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
    throw new TaskFeedError("token", "getToken returned nothing that can be sent: it must be a JWT");
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
