import type { CursorStore } from "./types.js";

/** The part of the browser's Storage that is used. */
export interface KeyStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

/** Keeps the cursor in memory, for as long as the feed lives: the default. */
export function memoryCursor(): CursorStore {
  let cursor: number | undefined;
  return { load: () => cursor, save: (c) => void (cursor = c) };
}

/**
 * Keeps the cursor in the browser's storage under the key, so that a reloaded page
 * resumes there. Use one key for each user. Use one for each tab too, unless all tabs
 * share the effects of the handlers; sessionStorage keeps one for each tab.
 */
export function localStorageCursor(key: string, storage: KeyStorage = localStorage): CursorStore {
  return {
    load() {
      const text = storage.getItem(key);
      return text === null ? text : Number(text || NaN); // the feed refuses an invalid cursor
    },
    save: (cursor) => storage.setItem(key, String(cursor)),
  };
}
