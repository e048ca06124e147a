import { signal } from "@preact/signals";
import { paused } from "./settings.js";

/** The text of the live region. */
export const spoken = signal("");

const least = 5000; // ms between two announcements

let waiting = "";
let timer = 0;

/** Announces the text now, as the answer to an action of the user. */
export function say(words: string): void {
  waiting = "";
  spoken.value = "";
  setTimeout(() => { spoken.value = words; }, 50); // screen readers read a region only when it changes
}

/** Announces the text when the last announcement is old enough; a later text replaces it. Announces nothing while paused. */
export function mention(words: string): void {
  if (paused.peek()) return;
  waiting = words;
  timer ||= window.setTimeout(() => {
    timer = 0;
    if (waiting && !paused.peek()) spoken.value = waiting;
    waiting = "";
  }, least);
}
