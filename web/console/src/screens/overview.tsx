import { useMemo, useState } from "preact/hooks";
import { get } from "../api.js";
import { rates } from "../feed.js";
import { count, duration, latency, rate } from "../format.js";
import { useLoad } from "../load.js";
import { total, type Samples } from "../prometheus.js";
import { path } from "../router.js";
import { latencies, sample } from "../sampler.js";
import { clock, paused } from "../settings.js";
import { text } from "../strings.js";
import { statuses, type Status, type Task } from "../types.js";
import { Choice, Heading, Payload, ProblemNote, ProgressBar, Time } from "../ui/basic.js";
import { Chart } from "../ui/chart.js";
import { Icon } from "../ui/icons.js";

interface Stats {
  counts: { status: Status; kind?: string; count: number }[];
  events_per_minute: { minute: string; count: number }[];
  oldest_running: Task | null;
  stalled: Task[];
  stalled_after_seconds: number;
}

const statsEvery = 5000; // ms
const metricsEvery = 2000;

export function Overview() {
  const stats = useLoad("stats", (signal) => get<Stats>("v1/stats", { signal }), statsEvery);
  const metrics = useLoad("metrics", sample, metricsEvery);
  const { overview: t } = text;
  return (
    <>
      <Heading title={text.screens.overview} />
      {stats.problem && <ProblemNote problem={stats.problem} retry={stats.reload} />}
      <Counters stats={stats.data} />
      <div class="charts">
        <EventsChart stats={stats.data} />
        <LatencyChart />
      </div>
      {metrics.problem && !stats.problem && <p class="note">{t.noMetrics}</p>}
      <FeedHealth samples={metrics.data} />
      {stats.data && (
        <div class="columns even">
          <section class="panel" aria-labelledby="h-oldest">
            <h2 id="h-oldest">{t.oldest}</h2>
            {stats.data.oldest_running ? <TaskList tasks={[stats.data.oldest_running]} /> : <p class="small">{t.noneRuns}</p>}
          </section>
          <section class="panel" aria-labelledby="h-stalled">
            <h2 id="h-stalled">{t.stalled(duration(stats.data.stalled_after_seconds * 1000))}</h2>
            {stats.data.stalled.length > 0 ? <TaskList tasks={stats.data.stalled} /> : <p class="small">{t.noneStalled}</p>}
          </section>
        </div>
      )}
    </>
  );
}

function Counters({ stats }: { stats: Stats | null }) {
  const sum = (status: Status): number => (stats?.counts ?? []).reduce((n, c) => n + (c.status === status ? c.count : 0), 0);
  return (
    <ul class="counters" aria-label={text.overview.byStatus}>
      {statuses.map((status) => (
        <li key={status}>
          <a class="panel" href={"tasks?status=" + status} data-status={status}>
            <span class="counter-name"><Icon name={status} />{text.status[status]}</span>
            <span class="counter number" data-count={status}>{stats ? count(sum(status)) : "–"}</span>
          </a>
        </li>
      ))}
    </ul>
  );
}

type Period = "2m" | "10m" | "1h";

function EventsChart({ stats }: { stats: Stats | null }) {
  const { overview: t } = text;
  const [period, setPeriod] = useState<Period>("2m");
  const now = useHeldClock();
  const { at, values } = useMemo(() => {
    if (period === "1h") {
      const minutes = stats?.events_per_minute ?? [];
      return { at: minutes.map((m) => Date.parse(m.minute) / 1000), values: minutes.map((m) => m.count / 60) };
    }
    const seconds = rates.series(now, period === "2m" ? 120 : 600);
    return { at: seconds.map((s) => s.second), values: seconds.map((s) => s.count) };
  }, [period, period === "1h" ? stats : now]);
  const lines = useMemo(() => [{ name: t.eventsName, color: "--accent", values }], [values]);
  return (
    <Chart title={t.events} at={at} lines={lines} print={rate}>
      <Choice<Period> label={t.period} value={period} onChange={setPeriod} options={[["2m", t.twoMinutes], ["10m", t.tenMinutes], ["1h", t.hour]]} />
    </Chart>
  );
}

/** The current time, which does not advance while paused. */
function useHeldClock(): number {
  const [held, hold] = useState(clock.peek());
  if (paused.value) return held;
  if (held !== clock.value) hold(clock.value);
  return clock.value;
}

function LatencyChart() {
  const { overview: t } = text;
  const list = latencies.value;
  const at = useMemo(() => list.map((l) => l.at), [list]);
  const lines = useMemo(() => [
    { name: "p50", color: "--good", values: list.map((l) => l.p50) },
    { name: "p99", color: "--warn", values: list.map((l) => l.p99) },
  ], [list]);
  return <Chart title={t.latency} at={at} lines={lines} print={latency} />;
}

/** The health of the feed, one tile for each check; icon and word say whether it is good. */
function FeedHealth({ samples }: { samples: Samples | null }) {
  const { overview: t } = text;
  if (!samples) return null;
  const value = (name: string): number | null => total(samples, "taskfeed_" + name);
  const depth = value("buffer_depth");
  const writer = value("oldest_writer_seconds");
  const queue = value("notification_queue_usage");
  const up = value("listener_up");
  const leader = value("is_leader");
  const tiles: { name: string; words: string; hint: string; good: boolean | null }[] = [
    { name: t.feed, words: up === 1 ? t.fresh : t.stale, hint: t.feedHint, good: up === null ? null : up === 1 },
    { name: t.role, words: leader === 1 ? t.leads : t.follows, hint: t.roleHint, good: leader === null ? null : true },
    { name: t.buffer, words: depth === null ? "–" : count(depth), hint: t.bufferHint, good: depth === null ? null : depth < 10_000 },
    { name: t.writer, words: writer === null ? "–" : writer === 0 ? t.noWriter : duration(writer * 1000), hint: t.writerHint, good: writer === null ? null : writer < 60 },
    { name: t.queue, words: queue === null ? "–" : `${(queue * 100).toFixed(queue < 0.01 ? 2 : 0)} %`, hint: t.queueHint, good: queue === null ? null : queue < 0.5 },
    { name: t.connections, words: count(value("connections") ?? 0), hint: t.users(value("users") ?? 0), good: true },
  ];
  return (
    <section aria-labelledby="h-health" class="health">
      <h2 id="h-health">{t.health}</h2>
      <dl class="tiles">
        {tiles.map(({ name, words, hint, good }) => (
          <div key={name} class="panel" data-good={good === null ? undefined : String(good)}>
            <dt>{name}</dt>
            <dd><Icon name={good === null ? "unknown" : good ? "ok" : "warning"} />
              {good !== true && <span class="offscreen">{good === null ? t.unknown : t.attention} </span>}{words}</dd>
            <dd class="small">{hint}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

function TaskList({ tasks }: { tasks: Task[] }) {
  return (
    <ul class="plain tasklist">
      {tasks.map((task) => (
        <li key={task.id}>
          <a href={path("tasks", task.id)}><code>{task.id}</code></a>
          <ProgressBar value={task.progress} name={task.id} />
          <span class="small">
            {task.user_id} · {text.overview.began} <Time at={task.created_at} />, {text.overview.unchanged} <Time at={task.updated_at} />
            {task.message && <> · <Payload>{task.message}</Payload></>}
          </span>
        </li>
      ))}
    </ul>
  );
}

