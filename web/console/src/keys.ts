import { signal } from "@preact/signals";
import { go } from "./router.js";
import { paused, shortcuts } from "./settings.js";

/** Whether the list of shortcuts is shown. */
export const helpOpen = signal(false);

/** The screens that g and a letter open. */
export const goKeys: Record<string, string> = {
  o: "./", t: "tasks", l: "live", c: "connections", s: "sources", p: "playground", d: "diagnostics", a: "about",
};

const within = 1500; // ms between g and the letter

let gPressed = 0;

export function watchKeys(): void {
  addEventListener("keydown", (event) => {
    if (shortcuts.peek() === "off" || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]")) return;
    const target = event.target as HTMLElement;
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || target.isContentEditable) return;
    if (event.key === " " && target.closest("button, a, summary, [role=button], [tabindex='0']")) return;
    if (press(event.key)) event.preventDefault();
  });
}

/** Runs the shortcut of a key; returns whether the key has one. */
function press(key: string): boolean {
  const afterG = Date.now() - gPressed < within;
  gPressed = 0;
  const to = afterG ? goKeys[key] : undefined;
  if (to) {
    go(to);
    return true;
  }
  switch (key) {
    case "g":
      gPressed = Date.now();
      return true;
    case "/": {
      const search = document.querySelector<HTMLElement>("[data-search]");
      search?.focus();
      return search !== null;
    }
    case "?":
      helpOpen.value = true;
      return true;
    case " ":
      paused.value = !paused.value;
      return true;
  }
  return false;
}
