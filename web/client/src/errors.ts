/**
 * Why a feed waits or ended. All except `connection` end it; `rejected` does when
 * the second token in a row is refused.
 *
 * - `connection`: the connection could not be made or was lost, or getToken gave no token;
 *   the feed tries again
 * - `rejected`: the token was refused
 * - `forbidden`: the token is valid but does not allow this user's feed
 * - `disconnected`: an administrator closed the connection
 * - `refused`: the server refuses the request
 * - `protocol`: the server does not speak the taskfeed protocol
 * - `reset`: events are lost, and there is neither loadSnapshot nor a handler for that
 * - `handler`, `store`: a handler threw, or the cursor store failed; see `cause`
 * - `config`: an option is wrong
 * - `closed`: the feed was closed before it was ready
 */
export type ErrorCode =
  | "connection" | "rejected" | "forbidden" | "disconnected" | "refused" | "protocol"
  | "reset" | "handler" | "store" | "config" | "closed";

export interface ErrorDetails {
  cause?: unknown;
  /** The close code of the WebSocket, if it ended with one. */
  closeCode?: number;
  /** The HTTP status of an answer that was not a feed. */
  status?: number;
  /** The code of the refusal in such an answer, such as `topic_not_allowed`. */
  reason?: string;
  /** The wait that the server asks for, in milliseconds. */
  retryAfter?: number;
}

/** The class of every error from this package. No message contains a token. */
export class TaskFeedError extends Error {
  override name = "TaskFeedError";
  declare readonly closeCode?: number;
  declare readonly status?: number;
  declare readonly reason?: string;
  declare readonly retryAfter?: number;

  constructor(readonly code: ErrorCode, message: string, details?: ErrorDetails) {
    super(message, details);
    Object.assign(this, details);
  }
}

/** Ends the feed when getToken throws it: there is no valid token. */
export class TokenRejected extends TaskFeedError {
  override name = "TokenRejected";

  constructor(message = "the token is refused", details?: ErrorDetails) {
    super("rejected", message, details);
  }
}

export const lost = (message: string, details?: ErrorDetails): TaskFeedError =>
  new TaskFeedError("connection", message, details);

/** The error of each close code. After other codes the feed reconnects, except that 4500 and above are `refused`. */
const meaning: Record<number, ErrorCode> = { 4001: "rejected", 4003: "forbidden", 4011: "disconnected" };

export const closed = (closeCode: number, reason: unknown): TaskFeedError =>
  new TaskFeedError(meaning[closeCode] ?? (closeCode >= 4500 ? "refused" : "connection"),
    `the server closed the connection with ${closeCode}${because(reason)}`, { closeCode });

/**
 * Returns a foreign reason, an error or a text, as the end of a message. Returns ""
 * for anything else, such as a proxy's HTML page.
 */
export const because = (reason: unknown): string =>
  (reason instanceof Error || typeof reason === "string") && /^\s*[^<\s]/.test(reason as string) ? ": " + reason : "";

/** The error when a callback of the app failed: the feed tries again, unless the callback threw TokenRejected. */
export const notGiven = (what: string, cause: any): TaskFeedError =>
  cause?.code === "rejected" ? new TokenRejected(cause.message, { cause }) : lost(what + " failed", { cause });

/** Reports an error that does not end the feed to the environment. */
export function report(error: unknown): void {
  (globalThis.reportError ?? console.error)(error);
}
