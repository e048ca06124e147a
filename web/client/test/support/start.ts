import { TaskFeed, type FeedOptions, type State, type StateChange } from "../../src/index.js";
import { FakeNet, settled } from "./fake.js";

/** A feed on a network in memory, and its records. */
export interface Started {
  net: FakeNet;
  feed: TaskFeed;
  states: State[];
  /** The changes to closed. */
  ends: StateChange[];
  /** The cursors that it has saved. */
  saved: number[];
}

/** Creates a feed; it does not connect. */
export function start(more?: Partial<FeedOptions>): Started {
  const net = new FakeNet();
  const saved: number[] = [];
  const feed = new TaskFeed(net.options({ cursorStore: { load: () => undefined, save: (c) => { saved.push(c); } }, ...more }));
  const states: State[] = [];
  const ends: StateChange[] = [];
  feed.on("state", (change) => {
    states.push(change.state);
    if (change.state === "closed") ends.push(change);
  });
  return { net, feed, states, ends, saved };
}

/** Connects the feed and opens its first connection. */
export async function opened(feed: TaskFeed<any>, net: FakeNet): Promise<void> {
  feed.connect();
  await settled();
  net.last.open();
}
