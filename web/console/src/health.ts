import { signal } from "@preact/signals";
import { onAway } from "./api.js";
import { server } from "./router.js";

/** Whether the server can be reached, and whether it says that it is ready. */
export interface Health {
  kind: "ok" | "away" | "unready";
  /** The checks that fail, when it is not ready. */
  failing: string[];
  since: number; // ms since 1970
}

export interface Check { name: string; ok: boolean; detail?: string }

export const health = signal<Health>({ kind: "ok", failing: [], since: Date.now() });

/** Grows each time the server has come back: what was shown may be old. */
export const epoch = signal(0);

const least = 1000; // ms between two looks while it is away
const most = 5000;

let timer = 0;
let delay = least;
let asking = false;

/** Finds out at once how the server is, and goes on asking until it is well. */
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
  try {
    const { ok, checks } = await readiness();
    const failing = checks.filter((check) => !check.ok).map((check) => check.name);
    return ok ? { kind: "ok", failing: [] } : { kind: "unready", failing };
  } catch {
    return { kind: "away", failing: [] };
  }
}

/** Asks the server for its own checks. Throws when there is no answer or none of a taskfeed server. */
export async function readiness(signal?: AbortSignal): Promise<{ ok: boolean; checks: Check[] }> {
  const limit = AbortSignal.timeout(4000);
  const answer = await fetch(new URL("readyz?verbose", server), {
    cache: "no-store", signal: signal ? AbortSignal.any([signal, limit]) : limit,
  });
  const body = (await answer.json()) as { checks?: Check[] };
  return { ok: answer.ok, checks: body.checks ?? [] };
}

/** Keeps an eye on the server for as long as the page lives. */
export function watch(): void {
  void probe();
  onAway.add(() => void probe());
  addEventListener("offline", () => void probe());
  addEventListener("online", () => void probe());
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && health.value.kind !== "ok") void probe();
  });
}
