/** Loads the part for shared connections. The script tag's file has another way, in load.script.ts. */
export const loadShare = (): Promise<typeof import("./share.js")> => import("./share.js");
