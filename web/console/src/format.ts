/** A duration in at most two units: "1.24 s", "3 min 12 s", "2 d 4 h". Never negative. */
export function duration(ms: number): string {
  const t = Math.max(0, ms);
  if (t < 1) return "0 ms";
  if (t < 1000) return `${Math.round(t)} ms`;
  if (t < 59_950) return `${(t / 1000).toFixed(t < 9995 ? 2 : 1).replace(/\.?0+$/, "")} s`;
  const s = Math.round(t / 1000);
  if (s < 3600) return two(Math.floor(s / 60), "min", s % 60, "s");
  if (s < 86_400) return two(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min");
  return two(Math.floor(s / 86_400), "d", Math.floor((s % 86_400) / 3600), "h");
}

function two(a: number, unit: string, b: number, smaller: string): string {
  return b ? `${a} ${unit} ${b} ${smaller}` : `${a} ${unit}`;
}

/** How long ago, roughly. A time in the future is "now", because clocks differ. */
export function ago(then: number, now: number): string {
  const s = Math.floor((now - then) / 1000);
  if (s < 1) return "now";
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86_400)} d ago`;
}

const pad = (n: number, width = 2): string => String(n).padStart(width, "0");

/** A point in time to the millisecond, in the zone of the browser or in UTC. */
export function stamp(at: number, utc: boolean): string {
  const d = new Date(at);
  if (isNaN(at)) return "–";
  if (utc) return d.toISOString().replace("T", " ");
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ` +
    `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}.${pad(d.getMilliseconds(), 3)}`;
}

/** The time of day to the second. */
export function timeOfDay(at: number, utc: boolean): string {
  return stamp(at, utc).slice(11, 19);
}

export function count(n: number): string {
  return n.toLocaleString("en");
}

const sizes = ["B", "KB", "MB", "GB", "TB"];

export function bytes(n: number): string {
  let value = n;
  let i = 0;
  while (value >= 1000 && i < sizes.length - 1) {
    value /= 1000;
    i++;
  }
  return `${i === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${sizes[i]}`;
}

/** A latency, given in seconds: "1.3 ms". */
export function latency(seconds: number | null): string {
  if (seconds === null || !isFinite(seconds)) return "–";
  const ms = seconds * 1000;
  if (ms === 0) return "0 ms";
  return ms < 1000 ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : duration(ms);
}

/** A rate: "0.4", "12", "1,200". */
export function rate(perSecond: number): string {
  return perSecond < 10 && !Number.isInteger(perSecond) ? perSecond.toFixed(1) : count(Math.round(perSecond));
}

/** A string literal in SQL. */
export function sqlText(text: string): string {
  const quoted = "'" + text.replaceAll("'", "''") + "'";
  return text.includes("\\") ? "E" + quoted.replaceAll("\\", "\\\\") : quoted;
}

/** A quoted word in a POSIX shell. */
export function shellWord(text: string): string {
  return "'" + text.replaceAll("'", "'\\''") + "'";
}
