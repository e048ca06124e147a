/** Counts events in each of the last seconds. */
export class Rates {
  readonly #counts: number[];
  readonly #first: number; // the second in which counting began, which is incomplete
  #last: number; // the second of the newest count

  constructor(readonly seconds: number, now: number) {
    this.#counts = new Array(seconds).fill(0);
    this.#first = this.#last = Math.floor(now / 1000);
  }

  add(now: number, n = 1): void {
    this.#to(now);
    this.#counts[this.#last % this.seconds]! += n;
  }

  /** The counts of the last complete seconds, oldest first, without the current one. */
  series(now: number, length = this.seconds - 1): { second: number; count: number }[] {
    this.#to(now);
    const list = [];
    for (let back = Math.min(length, this.seconds - 1); back >= 1; back--) {
      const second = this.#last - back;
      if (second <= this.#first) continue;
      list.push({ second, count: this.#counts[((second % this.seconds) + this.seconds) % this.seconds]! });
    }
    return list;
  }

  /** The mean of the last complete seconds. */
  mean(now: number, over: number): number {
    const list = this.series(now, over);
    return list.reduce((sum, { count }) => sum + count, 0) / Math.max(1, list.length);
  }

  #to(now: number): void {
    const second = Math.floor(now / 1000);
    const steps = Math.min(second - this.#last, this.seconds);
    for (let i = 1; i <= steps; i++) this.#counts[(this.#last + i) % this.seconds] = 0;
    if (second > this.#last) this.#last = second;
  }
}
