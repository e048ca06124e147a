import type { TaskFeedError } from "./errors.js";

/** The fields of every event. An id is its position in the log: ids only grow. */
export interface EventFields {
  id: number;
  type: string;
  /** RFC 3339, UTC: when the change was captured. It does not define an order. */
  timestamp: string;
  /** The group whose feed has the event; absent in the user's own feed and in broadcasts. */
  feed?: string;
}

interface TaskFields extends EventFields {
  task_id: string;
  /** Grows with each change of the task. */
  version: number;
  /** The trace of the app's transaction, where the app names one. */
  traceparent?: string;
  /** The names of fields that were too large for the feed and are null. */
  truncated?: string[];
}

/** The visible state of a task except its status, which follows from the type. */
interface VisibleFields<R> extends TaskFields {
  kind?: string;
  progress: number;
  message?: string | null;
  result?: R | null;
  error?: string | null;
}

export interface TaskQueued<R = unknown> extends VisibleFields<R> { type: "task_queued" }
export interface TaskStarted<R = unknown> extends VisibleFields<R> { type: "task_started" }
export interface TaskCompleted<R = unknown> extends VisibleFields<R> { type: "task_completed" }
export interface TaskFailed<R = unknown> extends VisibleFields<R> { type: "task_failed" }
export interface TaskCanceled<R = unknown> extends VisibleFields<R> { type: "task_canceled" }
export interface TaskProgress extends TaskFields {
  type: "task_progress";
  progress: number;
  /** Absent when the task has none. */
  message?: string | null;
}
export interface TaskDeleted extends TaskFields { type: "task_deleted" }
/** The task runs and has not changed since the time `since`. Its version is that of the last change. */
export interface TaskStalled extends TaskFields { type: "task_stalled"; kind?: string; progress?: number; since: string }

/** The events of tasks by their type. */
export interface TaskEvents {
  task_queued: TaskQueued;
  task_started: TaskStarted;
  task_progress: TaskProgress;
  task_completed: TaskCompleted;
  task_failed: TaskFailed;
  task_canceled: TaskCanceled;
  task_deleted: TaskDeleted;
  task_stalled: TaskStalled;
}

/** The app's own events: their fields, by their type. */
export type CustomEvents = object;

/** The events of a feed by their type. */
export type EventsOf<C extends CustomEvents> = TaskEvents & {
  [K in keyof C & string]: EventFields & { type: K } & C[K];
};

/** One event of a task, or of the app's own types C. */
export type FeedEvent<C extends CustomEvents = {}> = EventsOf<C>[keyof EventsOf<C>];

/** An event of a type that the program does not declare. */
export type UnknownEvent = EventFields & Record<string, unknown>;

/** A task in a snapshot, and as `applyEvent` returns it. */
export interface Task {
  id: string;
  /** Whose it is: the user's, or a group's. */
  user_id?: string;
  kind?: string;
  /** `unknown` until an event or a snapshot contains it. */
  status: "queued" | "running" | "completed" | "failed" | "canceled" | "unknown";
  progress: number;
  message?: string | null;
  result?: unknown;
  error?: string | null;
  version: number;
  truncated?: string[];
  created_at?: string;
  updated_at?: string;
  /** The attached table whose row it is; events do not have it. */
  source?: string;
}

/**
 * `idle` before connect; `connecting`; `replaying` missed events; `live`;
 * `waiting` for the next attempt; `closed`.
 */
export type State = "idle" | "connecting" | "replaying" | "live" | "waiting" | "closed";

export interface StateChange {
  state: State;
  /** Why the feed waits or has closed; undefined when close was called. */
  error?: TaskFeedError;
  /** How long the feed waits, in milliseconds. */
  delay?: number;
}

/**
 * `expired`: the log no longer keeps all events after the cursor. `ahead`: the cursor is beyond the end of the log.
 * `source_broken`: a change of an attached table could not be read.
 */
export type ResetReason = "expired" | "ahead" | "source_broken";

/** Events are lost: forget the state; the feed continues after cursor. */
export interface Reset { reason: ResetReason; from: number; cursor: number }

/** The events after `from`, up to and including `to`, are no longer kept. */
export interface Gap { from: number; to: number }

/** The current tasks, and the id of the last event that they include. */
export interface Snapshot { tasks: Task[]; cursor?: number | null }

/** Why a snapshot is loaded: at the start, or after a reset. */
export type SnapshotReason = "start" | ResetReason;

/** How many events lie beyond the user's read mark. */
export interface Unread {
  /** The mark: every event up to it is read. */
  through: number;
  /** At most 1000. */
  total: number;
  /** There may be more than total. */
  more: boolean;
  types: Record<string, number>;
}

export type TokenReason = "initial" | "expired" | "rejected";

export interface CursorStore {
  /** Returns the last saved cursor, null or undefined when there is none. */
  load(): number | null | undefined | Promise<number | null | undefined>;
  /** Called after the handlers of the event with that id have returned. */
  save(cursor: number): void | Promise<void>;
}

/** The names for `on` that are not types of events. */
export interface FeedSignals<C extends CustomEvents> {
  /** Every event. */
  event: FeedEvent<C>;
  /** Each change of state. Not waited for. */
  state: StateChange;
  reset: Reset;
  gap: Gap;
  /** Each change of `feed.unread`. Not waited for. */
  unread: Unread;
  /** What loadSnapshot returned. */
  snapshot: Snapshot & { reason: SnapshotReason };
}

export type HandlerMap<C extends CustomEvents> = EventsOf<C> & FeedSignals<C>;

/** The feed waits for the returned promise before the next event. */
export type Handler<E> = (value: E) => unknown;

/** What a message to the app may have besides its topic. */
export interface MessageOptions {
  /** The task that it is about; the user must see it. */
  taskId?: string;
  /** Up to 16 KiB of JSON. */
  data?: object;
  /** Stops trying; the message may be stored all the same. */
  signal?: AbortSignal;
}

export type Transport = "websocket" | "sse";

export interface FeedOptions {
  /** Base URL of the server: http, https, ws or wss; relative to the page. Default "/". */
  url?: string;
  userId: string;
  /** Returns a token for the user. A `TokenRejected` ends the feed; after any other error, or an answer that is no token, the feed tries again. */
  getToken(ask: { reason: TokenReason; signal: AbortSignal }): string | Promise<string>;
  /** Where the cursor is kept; default: in memory. See `localStorageCursor`. */
  cursorStore?: CursorStore;
  /** Where to start without a saved cursor: 0 for all kept events; default: live events only. */
  after?: number;
  /** Events of these types only; default: all. */
  types?: readonly string[];
  /** Events of this task only. */
  taskId?: string;
  /** Only these feeds: the user's own id, or those of groups that the token lists; default: all of them. */
  feeds?: readonly string[];
  /** Keep `feed.unread`. It counts the ends of tasks and the app's own events, or `types`. */
  unread?: boolean;
  /** The least time between two `task_progress` of one task, 50 to 60,000 ms; events of other types are not delayed. Default: all come. */
  progressInterval?: number;
  /** Leaves out of a replay what no longer matters of tasks: each comes with its last state and the last progress after it. */
  compact?: boolean;
  /** A name under which the server keeps a cursor too, over WebSocket: where it begins without one of its own, and what admins see. */
  client?: string;
  /** Tried in this order; the feed keeps the one that worked. Default ["websocket", "sse"]. */
  transports?: readonly Transport[];
  /** Waits with full jitter below a ceiling that doubles from min (500) to max (30,000 ms). */
  backoff?: { min?: number; max?: number; random?: () => number };
  /** Loads the tasks, at the start and after a reset. */
  loadSnapshot?(ask: { reason: SnapshotReason; signal: AbortSignal }): Snapshot | Promise<Snapshot>;
  /** One connection for all tabs of the browser. */
  shared?: boolean;
  onState?(change: StateChange): void;
  /**
   * Called when a handler threw. When it returns, the event counts as handled.
   * Without it, the feed ends and the event comes again with the next connect.
   */
  onHandlerError?(error: unknown, value: unknown): unknown;
  /** Used in place of the environment's own. */
  WebSocket?: WebSocketClass;
  fetch?: typeof fetch;
}

/** The part of the browser's WebSocket that the client uses. */
export type WebSocketClass = new (url: string, protocols: string[]) => SocketLike;

export interface SocketLike {
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(text: string): void;
  close(code?: number): void;
}
