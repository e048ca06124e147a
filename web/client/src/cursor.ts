import type { CursorStore } from "./types.js";

/** As much of the browser's Storage as is used. */
export interface KeyStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

/** Keeps the cursor as long as the feed: the default. */
export function memoryCursor(): CursorStore {
  let cursor: number | undefined;
  return { load: () => cursor, save: (c) => void (cursor = c) };
}

/**
 * Keeps the cursor in the browser's storage under the key, from which a reloaded
 * page goes on. A key is one user's, and one tab's unless the handlers' effects
 * are shared by all tabs; sessionStorage keeps one for each tab.
 */
export function localStorageCursor(key: string, storage: KeyStorage = localStorage): CursorStore {
  return {
    load() {
      const text = storage.getItem(key);
      return text === null ? text : Number(text || NaN); // what is no cursor, the feed refuses
    },
    save: (cursor) => storage.setItem(key, String(cursor)),
  };
}
