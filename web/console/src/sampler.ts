import { signal } from "@preact/signals";
import { getText } from "./api.js";
import { between, buckets, parseMetrics, quantile, type Buckets, type Samples } from "./prometheus.js";

/** The time from commit to socket, from one reading of the metrics to the next. */
export interface Latency { at: number; p50: number | null; p99: number | null }

/** The readings of the metrics since the page was loaded. */
export const latencies = signal<Latency[]>([]);

const kept = 300;
const histogram = "taskfeed_commit_to_socket_seconds";

let before: Buckets | null = null;

/** Reads the server's metrics and records the latency since the last reading. */
export async function sample(signal: AbortSignal): Promise<Samples> {
  const samples = parseMetrics(await getText("v1/metrics", { accept: "text/plain", signal }));
  const now = buckets(samples, histogram);
  if (before) {
    const since = between(before, now);
    const next = { at: Date.now() / 1000, p50: quantile(0.5, since), p99: quantile(0.99, since) };
    latencies.value = [...latencies.value, next].slice(-kept);
  }
  before = now;
  return samples;
}
