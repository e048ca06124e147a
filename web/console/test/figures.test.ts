import { describe, expect, it } from "vitest";
import { ago, bytes, duration, latency, rate, shellWord, sqlText, stamp } from "../src/format.js";
import { between, buckets, parseMetrics, quantile, total } from "../src/prometheus.js";
import { Rates } from "../src/rates.js";

describe("durations", () => {
  it.each([
    [-5, "0 ms"], [0, "0 ms"], [0.4, "0 ms"], [999, "999 ms"], [1000, "1 s"], [1240, "1.24 s"], [9994, "9.99 s"], [12_340, "12.3 s"],
    [59_940, "59.9 s"], [60_000, "1 min"], [192_000, "3 min 12 s"], [3_600_000, "1 h"], [5_400_000, "1 h 30 min"],
    [86_400_000, "1 d"], [187_200_000, "2 d 4 h"],
  ])("%d ms are %s", (ms, want) => expect(duration(ms)).toBe(want));
});

describe("times", () => {
  it.each([[0, "now"], [-60_000, "now"], [59_000, "59 s ago"], [61_000, "1 min ago"], [7_200_000, "2 h ago"], [200_000_000, "2 d ago"]])(
    "%d ms before are %s", (ms, want) => expect(ago(1e12 - ms, 1e12)).toBe(want));
  it("are whole in UTC and in the browser's zone", () => {
    expect(stamp(Date.parse("2026-11-22T10:00:00.123Z"), true)).toBe("2026-11-22 10:00:00.123Z");
    const local = stamp(Date.parse("2026-01-02T03:04:05.006"), false);
    expect(local).toBe("2026-01-02 03:04:05.006");
    expect(stamp(NaN, false)).toBe("–");
  });
});

describe("figures", () => {
  it.each([[0, "0 B"], [999, "999 B"], [1500, "1.5 KB"], [42_000_000, "42 MB"], [5e15, "5000 TB"]])("%d bytes are %s", (n, want) => expect(bytes(n)).toBe(want));
  it.each([[0, "0 ms"], [0.0013, "1.3 ms"], [0.5, "500 ms"], [2, "2 s"], [null, "–"], [Infinity, "–"]])("a latency of %s is %s", (s, want) => expect(latency(s)).toBe(want));
  it.each([[0, "0"], [0.44, "0.4"], [4, "4"], [12.4, "12"], [1200, "1,200"]])("a rate of %d is %s", (n, want) => expect(rate(n)).toBe(want));
});

describe("quoting", () => {
  it.each([["a", "'a'"], ["o'hara", "'o''hara'"], ["a\\b'", "E'a\\\\b'''"], ["';DROP", "''';DROP'"]])("%s in SQL is %s", (s, want) => expect(sqlText(s)).toBe(want));
  it.each([["a b", "'a b'"], ["o'hara", "'o'\\''hara'"], ["$(x)", "'$(x)'"]])("%s in a shell is %s", (s, want) => expect(shellWord(s)).toBe(want));
});

const exposition = `# HELP x y
# TYPE taskfeed_commit_to_socket_seconds histogram
h_bucket{le="0.001"} 10
h_bucket{le="0.01"} 90
h_bucket{le="+Inf"} 100
h_sum 1.5
h_count 100
closes{code="1006"} 3
closes{code="we\\"ird\\n\\\\"} 4
nothing here
up 1 1700000000
gauge 1.5e-3
`;

describe("metrics", () => {
  const samples = parseMetrics(exposition);
  it("are read with their labels", () => {
    expect(samples.get("closes")).toEqual([{ labels: { code: "1006" }, value: 3 }, { labels: { code: 'we"ird\n\\' }, value: 4 }]);
    expect([total(samples, "closes"), total(samples, "up"), total(samples, "gauge"), total(samples, "missing")]).toEqual([7, 1, 0.0015, null]);
  });
  it("have quantiles, interpolated within a bucket", () => {
    const list = buckets(samples, "h");
    expect(list.map((b) => b.le)).toEqual([0.001, 0.01, Infinity]);
    expect(quantile(0.05, list)).toBeCloseTo(0.0005);
    expect(quantile(0.5, list)).toBeCloseTo(0.0055);
    expect(quantile(0.99, list)).toBe(0.01); // beyond the last bound the value is unknown
  });
  it("have none without observations", () => {
    const list = buckets(samples, "h");
    expect(quantile(0.5, between(list, list))).toBeNull();
    expect(quantile(0.5, [])).toBeNull();
  });
  it("count from zero when the server has restarted", () => {
    const before = buckets(samples, "h");
    const after = [{ le: 0.001, count: 2 }, { le: 0.01, count: 4 }, { le: Infinity, count: 4 }];
    expect(between(before, after)).toEqual(after);
  });
});

describe("rates", () => {
  it("count by the second and omit the current one", () => {
    const r = new Rates(5, 9_500);
    r.add(10_100);
    r.add(10_900, 2);
    r.add(12_000, 4);
    expect(r.series(13_500)).toEqual([{ second: 10, count: 3 }, { second: 11, count: 0 }, { second: 12, count: 4 }]);
    expect(r.mean(13_500, 2)).toBe(2);
  });
  it("have no counts from before they began", () => {
    const r = new Rates(60, 10_000);
    r.add(10_500, 100);
    r.add(11_500, 7);
    expect(r.series(12_000)).toEqual([{ second: 11, count: 7 }]);
    expect(r.mean(12_000, 10)).toBe(7);
    expect(new Rates(60, 10_000).mean(10_000, 10)).toBe(0);
  });
  it("forget old counts, and all of them after a long silence", () => {
    const r = new Rates(4, 0);
    r.add(1_500, 9);
    expect(r.series(5_000).map((s) => s.count)).toEqual([0, 0, 0]);
    r.add(5_500, 1);
    expect(r.series(1e9).every((s) => s.count === 0)).toBe(true);
  });
  it("do not break when the clock steps back", () => {
    const r = new Rates(4, 9_000);
    r.add(10_000);
    r.add(9_000);
    expect(r.series(11_000)).toEqual([{ second: 10, count: 2 }]);
  });
});
