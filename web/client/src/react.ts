/**
 * Hooks for React and, through preact/compat, Preact. All components share one copy of a
 * feed's tasks.
 */
import { createContext, createElement, useContext, useEffect, useSyncExternalStore, type ReactElement, type ReactNode } from "react";
import { applyEvent, type State, type Task, type TaskFeed, type TaskFeedError, type Tasks, type Unread } from "./index.js";

/** What useTaskFeed returns. */
export interface FeedView {
  feed: TaskFeed<any>;
  state: State;
  /** Why the feed waits or has ended. */
  error?: TaskFeedError;
}

interface Store {
  tasks: Tasks;
  list: readonly Task[];
  view: FeedView;
  unread?: Unread;
  subscribe(listener: () => void): () => void;
}

const stores = new WeakMap<TaskFeed<any>, Store>();

/** Returns the feed's store. The first call for a feed creates it and must come before connect. */
function storeOf(feed: TaskFeed<any>): Store {
  let store = stores.get(feed);
  if (!store) stores.set(feed, (store = newStore(feed)));
  return store;
}

function newStore(feed: TaskFeed<any>): Store {
  const listeners = new Set<() => void>();
  const store: Store = {
    tasks: new Map(),
    list: [],
    view: { feed, state: feed.state },
    unread: feed.unread,
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  const tell = (): void => {
    for (const listener of [...listeners]) listener();
  };
  const set = (tasks: Tasks): void => {
    if (tasks === store.tasks) return;
    store.tasks = tasks;
    store.list = [...tasks.values()];
    tell();
  };
  feed.on("reset", () => set(new Map()));
  feed.on("snapshot", ({ tasks }) => set(new Map(tasks.map((task) => [task.id, task]))));
  feed.on("event", (event) => set(applyEvent(store.tasks, event)));
  feed.on("unread", (unread) => {
    store.unread = unread;
    tell();
  });
  feed.on("state", ({ state, error }) => {
    store.view = { feed, state, error };
    tell();
  });
  return store;
}

const Context = createContext<TaskFeed<any> | null>(null);

/** Provides the feed to the components below and connects it. It does not close the feed. */
export function TaskFeedProvider({ feed, children }: { feed: TaskFeed<any>; children?: ReactNode }): ReactElement {
  storeOf(feed); // before it connects, so that no event is missed
  useEffect(() => feed.connect(), [feed]);
  return createElement(Context.Provider, { value: feed }, children);
}

function useStore<T>(select: (store: Store) => T): T {
  const feed = useContext(Context);
  if (!feed) throw new Error("there is no TaskFeedProvider above this component");
  const store = storeOf(feed);
  const read = (): T => select(store);
  return useSyncExternalStore(store.subscribe, read, read);
}

/** Returns the feed and its state. */
export const useTaskFeed = (): FeedView => useStore((store) => store.view);

/** Returns all known tasks, in the order in which they became known. */
export const useTasks = (): readonly Task[] => useStore((store) => store.list);

/** Returns how many events are unread, for a bell; undefined without the feed's option `unread`, and until the server has counted. */
export const useUnread = (): Unread | undefined => useStore((store) => store.unread);

/** Returns one task, or undefined while it is not known. */
export const useTask = (id: string): Task | undefined => useStore((store) => store.tasks.get(id));
