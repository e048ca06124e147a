// In place of load.ts in the script tag's file. A relative path would not do: to
// a script of another site the browser does not tell where it came from.
const { src } = (document.currentScript ?? {}) as HTMLScriptElement;

export const loadShare = (): Promise<typeof import("./share.js")> => import(new URL("share.js", src).href);
