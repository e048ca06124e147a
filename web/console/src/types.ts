/** The answers of the API. The server omits empty fields. */

export const statuses = ["queued", "running", "completed", "failed", "canceled"] as const;
export type Status = (typeof statuses)[number];

export interface Task {
  id: string;
  user_id: string;
  kind?: string;
  status: Status;
  progress: number;
  message?: string | null;
  result?: unknown;
  error?: string | null;
  version: number;
  created_at: string;
  updated_at: string;
  truncated?: string[];
  /** The attached table whose row it is. */
  source?: string;
}

/** An attached table. */
export interface Source {
  name: string;
  table: string;
  ok: boolean;
  problem?: string;
  remedy?: string;
  reading: boolean;
  errors: number;
  unmapped: number;
  unowned: number;
  unmapped_values: string[];
  last_error?: string;
  last_error_at?: string;
  attached_at: string;
  writes: number;
}

/** An event in frames and lists; it has user_id where events of several users are mixed. */
export interface FeedEvent {
  id: number;
  type: string;
  timestamp: string;
  user_id?: string;
  task_id?: string;
  version?: number;
  kind?: string;
  progress?: number;
  message?: string | null;
  error?: string | null;
  result?: unknown;
  truncated?: string[];
  [field: string]: unknown;
}

/** What a user tells the app; with data while it waits. */
export interface Message {
  id: number;
  user_id: string;
  topic: string;
  created_at: string;
  waiting: boolean;
}

/** A client whose cursor the server keeps, and what it got when. */
export interface NamedClient {
  name: string;
  cursor: number;
  connected: boolean;
  deliveries: { through: number; at: string }[];
}

export interface Page<T> {
  items: T[];
  next?: string;
  /** In a first page of tasks: changes that the page does not show have events after this cursor. */
  cursor?: number;
}

export interface Connection {
  id: string;
  user_id: string;
  feeds?: string[]; // of groups
  transport: string;
  since: string;
  until?: string; // set when it has ended
  remote_addr: string;
  cursor: number;
  bytes_sent: number;
  server_name?: string; // where it lives
}

/** A server of the fleet, as it describes itself. */
export interface ServerInfo {
  server: string;
  name: string;
  role: "core" | "gateway";
  version?: string;
  leads?: boolean;
  head: number;
  lag_seconds?: number;
  connections: number;
  users: number;
}
