/** The samples of one reading of the metrics: for each name, the value of each set of labels. */
export type Samples = ReadonlyMap<string, readonly { labels: Record<string, string>; value: number }[]>;

/** Parses Prometheus's text format. Ignores other lines. */
export function parseMetrics(text: string): Samples {
  const samples = new Map<string, { labels: Record<string, string>; value: number }[]>();
  for (const line of text.split("\n")) {
    const [, name, labels, value] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line) ?? [];
    if (!name || !value) continue;
    const list = samples.get(name) ?? [];
    list.push({ labels: readLabels(labels ?? ""), value: number(value) });
    samples.set(name, list);
  }
  return samples;
}

function readLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const [, name, value] of text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
    labels[name!] = value!.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
  }
  return labels;
}

const number = (text: string): number => (text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text));

/** The sum over all sets of labels, or null when there is no such metric. */
export function total(samples: Samples, name: string): number | null {
  const list = samples.get(name);
  return list ? list.reduce((sum, { value }) => sum + value, 0) : null;
}

/** The buckets of a histogram: the number of observations of at most `le`, by `le`. */
export type Buckets = readonly { le: number; count: number }[];

export function buckets(samples: Samples, name: string): Buckets {
  return (samples.get(name + "_bucket") ?? [])
    .map(({ labels, value }) => ({ le: number(labels["le"] ?? ""), count: value }))
    .sort((a, b) => a.le - b.le);
}

/** The increase between two readings. A counter that went down was reset: then its whole value counts. */
export function between(before: Buckets, after: Buckets): Buckets {
  const old = new Map(before.map(({ le, count }) => [le, count]));
  const restarted = after.some(({ le, count }) => count < (old.get(le) ?? 0));
  return after.map(({ le, count }) => ({ le, count: restarted ? count : count - (old.get(le) ?? 0) }));
}

/** The quantile q, interpolated linearly within its bucket; null without observations. */
export function quantile(q: number, list: Buckets): number | null {
  const all = list.at(-1)?.count ?? 0;
  if (all <= 0) return null;
  const rank = q * all;
  let below = 0;
  let low = 0;
  for (const { le, count } of list) {
    if (count >= rank) {
      if (!isFinite(le)) return low;
      return count === below ? le : low + ((le - low) * (rank - below)) / (count - below);
    }
    below = count;
    low = le;
  }
  return low;
}
