import { computed, signal } from "@preact/signals";
import { text } from "./strings.js";

/** Who is logged in, according to the unverified token. The server decides whether it is valid. */
export interface Session {
  token: string;
  user: string;
  admin: boolean;
  /** Groups whose feeds the user sees too, where the claim has its usual name. */
  groups: string[];
  expires: number; // ms since 1970; Infinity: unknown
}

const key = "taskfeed.console.token";

/** Whether the app that this server is part of says who the user is, by sessions of its own. There are no tokens then. */
export const byApp = globalThis.document?.documentElement.dataset["sessions"] === "app";
/** The session of whomever the app takes the user for; the server says who that is. */
const ofApp: Session = { token: "", user: "", admin: false, groups: [], expires: Infinity };

export const session = signal<Session | null>(null);
export const admin = computed(() => session.value?.admin ?? false);
/** Whether tasks and events of several users are shown. */
export const mixed = computed(() => admin.value || (session.value?.groups.length ?? 0) > 0);

/** Why the login is shown again. */
export const loginReason = signal("");

export type Claims = Record<string, unknown>;

/** Returns a token's claims without verifying them, or null when the text is not a JWT. */
export function claimsOf(token: string): Claims | null {
  const part = /^[\w-]+\.([\w-]+)\.[\w-]+$/.exec(token.trim())?.[1];
  if (!part) return null;
  try {
    const bytes = Uint8Array.from(atob(part.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    return claims && typeof claims === "object" && !Array.isArray(claims) ? (claims as Claims) : null;
  } catch {
    return null;
  }
}

export function sessionOf(token: string): Session | null {
  const claims = claimsOf(token);
  const user = claims?.["sub"];
  if (!claims || typeof user !== "string" || user === "") return null;
  const exp = claims["exp"];
  const feeds = claims["feeds"];
  return {
    token: token.trim(), user, admin: claims["role"] === "admin",
    groups: Array.isArray(feeds) ? feeds.filter((id) => typeof id === "string" && id !== user) : [],
    expires: typeof exp === "number" ? exp * 1000 : Infinity,
  };
}

/** Logs in with the token; returns false when the text is not a token. */
export function login(token: string): boolean {
  const next = sessionOf(token);
  if (!next) return false;
  store(next.token);
  loginReason.value = "";
  session.value = next;
  return true;
}

export function logout(reason = ""): void {
  store(null);
  loginReason.value = reason;
  session.value = null;
}

/** Logs in as whomever the app takes the user for. */
export function loginByApp(): void {
  loginReason.value = "";
  session.value = ofApp;
}

/** Logs in with the token stored in the tab, or by the app. */
export function restore(): void {
  if (byApp) return loginByApp();
  const token = stored();
  if (token && !login(token)) logout();
}

/** Logs in with the token in the fragment, if there is one, and removes it from the address bar. */
export function loginByAddress(): void {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token === null || byApp) return;
  history.replaceState(history.state, "", location.pathname + location.search);
  if (!login(token)) logout(text.login.noToken);
}

function stored(): string | null {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}

function store(token: string | null): void {
  try {
    if (token === null) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, token);
  } catch {
    // storage is not available: the token lasts only as long as the page
  }
}
