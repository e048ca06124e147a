import { signal } from "@preact/signals";
import { paused } from "./settings.js";

/** What the live region says. */
export const spoken = signal("");

const least = 5000; // ms between two announcements

let waiting = "";
let timer = 0;

/** Says it now, as the answer to what a person did. */
export function say(words: string): void {
  waiting = "";
  spoken.value = "";
  setTimeout(() => { spoken.value = words; }, 50); // a region that does not change is not read
}

/** Says it when there is time; a later one takes its place. Nothing is said while paused. */
export function mention(words: string): void {
  if (paused.peek()) return;
  waiting = words;
  timer ||= window.setTimeout(() => {
    timer = 0;
    if (waiting && !paused.peek()) spoken.value = waiting;
    waiting = "";
  }, least);
}
