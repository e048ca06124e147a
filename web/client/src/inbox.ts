/** How much may wait for the handlers, in characters of the received text. */
const room = 1 << 22;

/** A queue between a connection, which adds items, and the feed, which takes them. */
export interface Inbox<T> {
  /** Returns the first item, if there is one. */
  head(): T | undefined;
  /** Returns false, and adds nothing, when there is no room. */
  push(item: T, size: number): boolean;
  /** Ends the queue; only the first call counts. Items in it are still returned. */
  end(error?: unknown): void;
  ended(): boolean;
  /** Undoes end. */
  reopen(): void;
  /** Returns the first item without removing it; at the end undefined, or throws its error. */
  next(): Promise<T | undefined>;
  shift(): void;
  /** Resolves when the queue is empty. */
  drained(): Promise<void> | undefined;
}

export function newInbox<T>(): Inbox<T> {
  let items: [item: T, size: number][] = [];
  let size = 0;
  let end: { error?: unknown } | undefined;
  let wake: (() => void) | undefined;
  let empty: (() => void) | undefined;
  const head = (): T | undefined => items[0]?.[0];
  const shift = (): void => {
    size -= items.shift()![1];
    if (!size) empty?.();
  };
  return {
    head, shift,
    push(item, n) {
      if (size && size + n > room) return false;
      items.push([item, n]);
      size += n;
      wake?.();
      return true;
    },
    end(error) {
      end ??= { error };
      wake?.();
    },
    ended: () => !!end,
    reopen: () => { end = undefined; },
    async next() {
      if (!size && !end) await new Promise<void>((resolve) => { wake = resolve; });
      if (!size && end?.error) throw end.error;
      return head();
    },
    drained: () => (size ? new Promise((resolve) => { empty = resolve; }) : undefined),
  };
}
