import { signal } from "@preact/signals";
import { get, onAway, Problem } from "./api.js";
import { session } from "./session.js";

/** Whether the server answers, and whether it is ready. */
export interface Health {
  kind: "ok" | "away" | "unready";
  /** The failing checks, when the server is not ready. */
  failing: string[];
  since: number; // ms since 1970
}

export interface Check { name: string; ok: boolean; detail?: string }

export const health = signal<Health>({ kind: "ok", failing: [], since: Date.now() });

/** Grows each time the server has come back, because the shown data may be old. */
export const epoch = signal(0);

const least = 1000; // ms between two requests while the server does not answer
const most = 5000;
const within = 4000; // ms for an answer

let timer = 0;
let delay = least;
let asking = false;

/** Checks the server at once, and repeats the check until it is ready. */
export async function probe(): Promise<void> {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  const next = await look();
  asking = false;
  const old = health.value;
  if (next.kind !== old.kind || next.failing.join() !== old.failing.join()) {
    health.value = { ...next, since: Date.now() };
    delay = least;
  }
  if (next.kind === "ok") {
    if (old.kind !== "ok") epoch.value++;
    return;
  }
  timer = window.setTimeout(probe, delay * (0.75 + Math.random() / 2));
  delay = Math.min(delay * 1.5, most);
}

async function look(): Promise<Omit<Health, "since">> {
  const well: Omit<Health, "since"> = { kind: "ok", failing: [] };
  if (!session.peek()) return well; // without a session there is no token to ask with, and no old data on the screen
  try {
    const { ready, checks } = await readiness(AbortSignal.timeout(within));
    return ready ? well : { kind: "unready", failing: checks.filter((check) => !check.ok).map((check) => check.name) };
  } catch (error) {
    if (!(error instanceof Problem)) return { kind: "away", failing: [] };
    if (error.kind === "refused") return well; // the server answers, though it refuses the request or the token
    return { kind: error.document.code ? "unready" : "away", failing: [] };
  }
}

interface Status { status: string; checks?: Check[] }

/**
 * Asks whether the server is ready; admins get each check by name. It uses the URL with a
 * token, because proxies block the health URLs.
 */
export async function readiness(signal: AbortSignal): Promise<{ ready: boolean; checks: Check[] }> {
  const { status, checks } = await get<Status>("v1/status", { signal });
  return { ready: status === "ready", checks: checks ?? [] };
}

/** Monitors the server for as long as the page lives. */
export function watch(): void {
  session.subscribe(() => void probe());
  onAway.add(() => void probe());
  addEventListener("offline", () => void probe());
  addEventListener("online", () => void probe());
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && health.value.kind !== "ok") void probe();
  });
}
