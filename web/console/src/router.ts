import { signal } from "@preact/signals";

/** The URL of the console, with a trailing slash, and that of the server: one level up. */
export const base = new URL("./", document.baseURI);
export const server = new URL("../", base);

export interface Place {
  /** The decoded parts of the path below the base. */
  parts: string[];
  query: URLSearchParams;
}

/** The location in the address bar. */
export const here = signal<Place>(read());

function read(): Place {
  const parts = location.pathname.slice(base.pathname.length).split("/").filter(Boolean).map(decode);
  return { parts, query: new URLSearchParams(location.search) };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a stray percent sign, typed by hand
  }
}

/** A path below the base, with its parts encoded, for href and go. */
export function path(...parts: string[]): string {
  return parts.map(encodeURIComponent).join("/") || "./";
}

/** Opens a path below the base, such as `tasks?status=failed`. */
export function go(to: string, how: "push" | "replace" = "push"): void {
  const url = new URL(to, base);
  if (url.href === location.href) return;
  history[how === "push" ? "pushState" : "replaceState"](null, "", url);
  here.value = read();
}

/** Sets the query of the current screen's URL. Omits empty values. */
export function setQuery(query: URLSearchParams, how: "push" | "replace" = "push"): void {
  const text = query.toString();
  go(location.pathname + (text && "?" + text), how);
}

/** Opens links to the console's own screens without loading the page again. */
export function followLinks(): void {
  addEventListener("popstate", () => { here.value = read(); });
  document.addEventListener("click", (event) => {
    const link = (event.target as Element | null)?.closest?.("a");
    if (!link || event.defaultPrevented || event.button !== 0 || link.target || link.hasAttribute("download")) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const url = new URL(link.href);
    if (url.origin !== base.origin || !url.pathname.startsWith(base.pathname)) return;
    event.preventDefault();
    go(url.href);
  });
}
