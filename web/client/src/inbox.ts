/** What may wait for the handlers, in characters as it came. */
const room = 1 << 22;

/** Items between a connection, which brings them, and the feed, which takes them. */
export interface Inbox<T> {
  /** Returns the first item, if there is one. */
  head(): T | undefined;
  /** Returns false, and takes nothing, when there is no room. */
  push(item: T, size: number): boolean;
  /** The first end counts. What is there by then is still handed out. */
  end(error?: unknown): void;
  ended(): boolean;
  /** Takes an end back. */
  reopen(): void;
  /** Returns the first item and leaves it; undefined at the end, or throws its error. */
  next(): Promise<T | undefined>;
  shift(): void;
  /** Is fulfilled when nothing waits any more. */
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
