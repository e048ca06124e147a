import { useEffect, useRef, useState } from "preact/hooks";
import { Problem } from "./api.js";
import { gap, listen } from "./feed.js";
import { epoch } from "./health.js";
import { paused } from "./settings.js";
import type { FeedEvent } from "./types.js";

export interface Loaded<T> {
  /** The value loaded last; it stays while a new one is loading. */
  data: T | null;
  problem: Problem | null;
  reload(): void;
}

/**
 * Loads a value, and loads it again when the key changes, after a reset, when the server
 * has come back, and every so many ms. While paused it loads only on request of the user.
 */
export function useLoad<T>(key: string, load: (signal: AbortSignal) => Promise<T>, every?: number): Loaded<T> {
  const [state, set] = useState<{ key: string; data: T | null; problem: Problem | null }>({ key, data: null, problem: null });
  const [asked, ask] = useState(0);
  const cause = useHeld(`${epoch.value} ${gap.value}`);

  useEffect(() => {
    const abort = new AbortController();
    let timer = 0;
    const run = async (): Promise<void> => {
      try {
        const data = await load(abort.signal);
        if (!abort.signal.aborted) set({ key, data, problem: null });
      } catch (error) {
        if (abort.signal.aborted) return;
        if (!(error instanceof Problem)) throw error;
        set((old) => ({ key, data: old.key === key ? old.data : null, problem: error }));
      }
      if (every && !abort.signal.aborted) timer = window.setTimeout(again, every);
    };
    const again = (): void => {
      if (paused.peek() || document.hidden) timer = window.setTimeout(again, every);
      else void run();
    };
    void run();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [key, asked, cause]);

  const current = state.key === key;
  return {
    data: current ? state.data : null,
    problem: current ? state.problem : null,
    reload: () => ask((n) => n + 1),
  };
}

/** Returns the value, or while paused the last one before the pause. */
function useHeld<T>(value: T): T {
  const held = useRef(value);
  if (!paused.value) held.current = value;
  return held.current;
}

const batchEvery = 100; // ms: people cannot read faster

/** Passes the feed's events on in batches, in order. */
export function useEvents(take: (events: FeedEvent[]) => void): void {
  const latest = useRef(take);
  latest.current = take;
  useEffect(() => {
    let batch: FeedEvent[] = [];
    let timer = 0;
    const stop = listen((event) => {
      batch.push(event);
      timer ||= window.setTimeout(() => {
        const events = batch;
        batch = [];
        timer = 0;
        latest.current(events);
      }, batchEvery);
    });
    return () => {
      stop();
      clearTimeout(timer);
    };
  }, []);
}
