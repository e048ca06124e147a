import { effect, signal, type Signal } from "@preact/signals";

/** The user's settings for this browser, kept in its storage. */

export type Theme = "system" | "light" | "dark";
export type Times = "relative" | "local" | "utc";

function kept<T extends string>(name: string, allowed: readonly T[]): Signal<T> {
  const key = "taskfeed." + name;
  let first = allowed[0]!;
  try {
    const stored = localStorage.getItem(key) as T;
    if (allowed.includes(stored)) first = stored;
  } catch {
    // storage is not available
  }
  const setting = signal<T>(first);
  setting.subscribe((value) => {
    try {
      localStorage.setItem(key, value);
    } catch {
      // the setting lasts only as long as the page
    }
  });
  return setting;
}

export const themes: readonly Theme[] = ["system", "light", "dark"];
export const timeModes: readonly Times[] = ["relative", "local", "utc"];

export const theme = kept("theme", themes);
export const times = kept("times", timeModes);
/** Whether single keys are shortcuts; off for people whose speech input types letters. */
export const shortcuts = kept<"on" | "off">("shortcuts", ["on", "off"]);
/** Whether messages, results and errors of tasks are covered, for screens that others can see. */
export const payloads = kept<"shown" | "covered">("payloads", ["shown", "covered"]);

effect(() => {
  const root = document.documentElement;
  if (theme.value === "system") delete root.dataset["theme"];
  else root.dataset["theme"] = theme.value;
});

/** Whether live updates are paused. */
export const paused = signal(false);

/** The current time, updated once a second. */
export const clock = signal(Date.now());
setInterval(() => { clock.value = Date.now(); }, 1000);
