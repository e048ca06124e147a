import { effect, signal, type Signal } from "@preact/signals";

/** What a person chooses for this browser. It is kept in the browser's storage. */

export type Theme = "system" | "light" | "dark";
export type Times = "relative" | "local" | "utc";

function kept<T extends string>(name: string, allowed: readonly T[]): Signal<T> {
  const key = "taskfeed." + name;
  let first = allowed[0]!;
  try {
    const stored = localStorage.getItem(key) as T;
    if (allowed.includes(stored)) first = stored;
  } catch {
    // storage is closed to this page
  }
  const setting = signal<T>(first);
  setting.subscribe((value) => {
    try {
      localStorage.setItem(key, value);
    } catch {
      // it is forgotten with the page
    }
  });
  return setting;
}

export const themes: readonly Theme[] = ["system", "light", "dark"];
export const timeModes: readonly Times[] = ["relative", "local", "utc"];

export const theme = kept("theme", themes);
export const times = kept("times", timeModes);
/** Single keys as shortcuts; off for those whose speech input types letters. */
export const shortcuts = kept<"on" | "off">("shortcuts", ["on", "off"]);
/** Messages, results and errors of tasks are covered, for screens that others see. */
export const payloads = kept<"shown" | "covered">("payloads", ["shown", "covered"]);

effect(() => {
  const root = document.documentElement;
  if (theme.value === "system") delete root.dataset["theme"];
  else root.dataset["theme"] = theme.value;
});

/** Whether what moves by itself stands still. */
export const paused = signal(false);

/** The time, once a second. */
export const clock = signal(Date.now());
setInterval(() => { clock.value = Date.now(); }, 1000);
