// Replaces load.ts in the script tag's file. A relative path would not work there: the
// browser resolves it against the page, which may be of another site.
const { src } = (document.currentScript ?? {}) as HTMLScriptElement;

export const loadShare = (): Promise<typeof import("./share.js")> => import(new URL("share.js", src).href);
