/**
 * The browser client of taskfeed. A TaskFeed calls handlers with one user's events,
 * each exactly once and in order, over any number of connections.
 *
 * Not promised: if the page crashes after a handler returned and before the cursor
 * was saved, that one event comes again.
 */
export { localStorageCursor, type KeyStorage } from "./cursor.js";
export { TaskFeedError, TokenRejected, type ErrorCode, type ErrorDetails } from "./errors.js";
export { TaskFeed } from "./feed.js";
export { TaskWebSocket, type SocketOptions } from "./socket.js";
export { applyEvent, type Tasks } from "./tasks.js";
export type * from "./types.js";
