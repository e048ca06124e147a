// The script tag's file: everything is in the global taskfeed, and the two classes are
// also globals. The server is the one that it was loaded from.
import { applyEvent, localStorageCursor, TaskFeed, TaskFeedError, TaskWebSocket, TokenRejected } from "./index.js";
import { home } from "./socket.js";

const { src } = (document.currentScript ?? {}) as HTMLScriptElement;
if (src) home.url = new URL("..", src).href;

const classes = { TaskFeed, TaskWebSocket };
Object.assign(globalThis, classes, { taskfeed: { ...classes, applyEvent, localStorageCursor, TaskFeedError, TokenRejected } });
