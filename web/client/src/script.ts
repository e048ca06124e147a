// The script tag's file: everything in the global taskfeed, and the two classes
// as globals of their own. Its server is where it was loaded from.
import * as taskfeed from "./index.js";
import { home } from "./socket.js";

const { src } = (document.currentScript ?? {}) as HTMLScriptElement;
if (src) home.url = new URL("..", src).href;

const { TaskFeed, TaskWebSocket } = taskfeed;
Object.assign(globalThis, { taskfeed, TaskFeed, TaskWebSocket });
