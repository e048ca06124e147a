/** What the API answers with. Fields that are empty are left out by the server. */

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
}

/** An event as frames and lists have it; user_id is there where several users' events are mixed. */
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

export interface Page<T> {
  items: T[];
  next?: string;
  /** Of a first page of tasks: what it does not show has an event after it. */
  cursor?: number;
}

export interface Connection {
  id: string;
  user_id: string;
  transport: string;
  since: string;
  until?: string; // once it has ended
  remote_addr: string;
  cursor: number;
  bytes_sent: number;
}
