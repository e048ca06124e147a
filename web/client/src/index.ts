/**
 * The browser client of taskfeed. A TaskFeed hands one user's events to
 * handlers, each exactly once and in order, over as many connections as it takes.
 *
 * Not promised: if the page dies after a handler returned and before the cursor
 * was saved, that one event comes again.
 */
export { localStorageCursor, type KeyStorage } from "./cursor.js";
export { TaskFeedError, TokenRejected, type ErrorCode, type ErrorDetails } from "./errors.js";
export { TaskFeed } from "./feed.js";
export { TaskWebSocket, type SocketOptions } from "./socket.js";
export { applyEvent, type Tasks } from "./tasks.js";
export type * from "./types.js";
