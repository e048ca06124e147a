// The script tag's file: everything in the global taskfeed, and the two classes
// as globals of their own. Its server is where it was loaded from.
import { applyEvent, localStorageCursor, TaskFeed, TaskFeedError, TaskWebSocket, TokenRejected } from "./index.js";
import { home } from "./socket.js";

const { src } = (document.currentScript ?? {}) as HTMLScriptElement;
if (src) home.url = new URL("..", src).href;

const classes = { TaskFeed, TaskWebSocket };
Object.assign(globalThis, classes, { taskfeed: { ...classes, applyEvent, localStorageCursor, TaskFeedError, TokenRejected } });
