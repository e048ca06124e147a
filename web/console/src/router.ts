import { signal } from "@preact/signals";

/** Where the console is, ending in a slash, and where the server is: one step up. */
export const base = new URL("./", document.baseURI);
export const server = new URL("../", base);

export interface Place {
  /** The decoded parts of the path below the base. */
  parts: string[];
  query: URLSearchParams;
}

/** Where the address bar points. */
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

/** Goes to a path below the base, as `tasks?status=failed`. */
export function go(to: string, how: "push" | "replace" = "push"): void {
  const url = new URL(to, base);
  if (url.href === location.href) return;
  history[how === "push" ? "pushState" : "replaceState"](null, "", url);
  here.value = read();
}

/** Puts the query in the address of the present screen. Empty values are left out. */
export function setQuery(query: URLSearchParams, how: "push" | "replace" = "push"): void {
  const text = query.toString();
  go(location.pathname + (text && "?" + text), how);
}

/** Follows links to the console's own screens without loading the page anew. */
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
