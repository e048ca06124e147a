/** Loads the module for shared connections. The script tag's file uses load.script.ts instead. */
export const loadShare = (): Promise<typeof import("./share.js")> => import("./share.js");
