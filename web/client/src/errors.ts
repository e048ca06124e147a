/**
 * Why a feed waits or ended. All but `connection` end it; `rejected` does when
 * the second token in a row is refused.
 *
 * - `connection`: the connection could not be made or was lost; the feed comes back
 * - `rejected`: the token was refused
 * - `forbidden`: the token is good and does not open this user's feed
 * - `disconnected`: an operator closed the connection for good
 * - `refused`: the server does not take the request as it stands
 * - `protocol`: what arrived is not the taskfeed protocol
 * - `reset`: events were missed for good and nobody listens for that
 * - `handler`, `store`, `token`: a handler threw, the cursor store failed, or
 *   getToken returned what cannot be sent; see `cause`
 * - `config`: an option is wrong
 * - `closed`: the feed was closed before it was ready
 */
export type ErrorCode =
  | "connection" | "rejected" | "forbidden" | "disconnected" | "refused" | "protocol"
  | "reset" | "handler" | "store" | "token" | "config" | "closed";

export interface ErrorDetails {
  cause?: unknown;
  /** The close code of the WebSocket, unless it broke off without one. */
  closeCode?: number;
  /** The HTTP status of an answer that was no feed. */
  status?: number;
  /** How long the server asks to wait, in milliseconds. */
  retryAfter?: number;
}

/** Every error that comes out of this package. No message holds a token. */
export class TaskFeedError extends Error {
  override name = "TaskFeedError";
  declare readonly closeCode?: number;
  declare readonly status?: number;
  declare readonly retryAfter?: number;

  constructor(readonly code: ErrorCode, message: string, details?: ErrorDetails) {
    super(message, details);
    Object.assign(this, details);
  }
}

/** Thrown by getToken, it ends the feed: there will be no token that is taken. */
export class TokenRejected extends TaskFeedError {
  override name = "TokenRejected";

  constructor(message = "the token is refused", details?: ErrorDetails) {
    super("rejected", message, details);
  }
}

export const lost = (message: string, details?: ErrorDetails): TaskFeedError =>
  new TaskFeedError("connection", message, details);

/** What close codes mean. Those that are not here are tried again, but from 4500 on they are `refused`. */
const meaning: Record<number, ErrorCode> = { 4001: "rejected", 4003: "forbidden", 4011: "disconnected" };

export const closed = (closeCode: number, reason: unknown): TaskFeedError =>
  new TaskFeedError(meaning[closeCode] ?? (closeCode >= 4500 ? "refused" : "connection"),
    `the server closed the connection with ${closeCode}${because(reason)}`, { closeCode });

/**
 * Puts a reason that came from elsewhere at the end of a message: an error or a
 * text. What else it may be, nothing and a proxy's page among it, says nothing.
 */
export const because = (reason: unknown): string =>
  (reason instanceof Error || typeof reason === "string") && /^\s*[^<\s]/.test(reason as string) ? ": " + reason : "";

/** What it means that the app could not give what it was asked for: it is asked again, unless it says otherwise. */
export const notGiven = (what: string, cause: any): TaskFeedError =>
  cause?.code === "rejected" ? new TokenRejected(cause.message, { cause }) : lost(what + " failed", { cause });

/** Hands an error that ends nothing to the environment. */
export function report(error: unknown): void {
  (globalThis.reportError ?? console.error)(error);
}
