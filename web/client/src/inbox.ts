/** What may wait for the handlers, in characters as it came; beyond that the feed comes back for it. */
const maxWaiting = 1 << 22;

/** Items between a connection, which brings them, and the feed, which takes them. */
export class Inbox<T> {
  #items: T[] = [];
  #sizes: number[] = [];
  #size = 0;
  #ended = false;
  #error: unknown;
  #wake?: (() => void) | undefined;
  #drained?: (() => void) | undefined;

  get head(): T | undefined { return this.#items[0]; }
  get busy(): boolean { return this.#items.length > 0; }

  /** Returns false when there is no room: the connection must end. */
  push(item: T, size: number): boolean {
    if (this.#ended) return true;
    if (this.busy && this.#size + size > maxWaiting) return false;
    this.#items.push(item);
    this.#sizes.push(size);
    this.#size += size;
    this.#wake?.();
    return true;
  }

  /** The first end counts. What came before it is still handed out. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#wake?.();
  }

  /** Returns the first item and leaves it; undefined at the end, whose error it throws. */
  async next(): Promise<T | undefined> {
    if (!this.busy && !this.#ended) await new Promise<void>((resolve) => (this.#wake = resolve));
    if (!this.busy && this.#error) throw this.#error;
    return this.head;
  }

  shift(): void {
    this.#items.shift();
    this.#size -= this.#sizes.shift()!;
    if (!this.busy) this.#drained?.();
  }

  /** Is fulfilled when nothing waits. */
  drained(): Promise<void> | undefined {
    return this.busy ? new Promise((resolve) => (this.#drained = resolve)) : undefined;
  }

  clear(): void {
    while (this.busy) this.shift();
    this.#ended = false;
    this.#error = undefined;
  }
}
