import { useEffect, useRef, useState } from "preact/hooks";
import type uPlot from "uplot";
import { stamp, timeOfDay } from "../format.js";
import { theme, times } from "../settings.js";
import { text } from "../strings.js";

/** One line of a chart: a value for each point in time, null where there is none. */
export interface Line {
  name: string;
  /** Name of a colour of the style sheet, as "--accent". */
  color: string;
  values: (number | null)[];
}

interface ChartProps {
  title: string;
  /** Points in time, in seconds since 1970, ascending. */
  at: number[];
  lines: Line[];
  /** A value in words. */
  print: (value: number) => string;
  /** More controls beside the title. */
  children?: preact.ComponentChildren;
}

/** A live chart, and the same data as a table. */
export function Chart({ title, at, lines, print, children }: ChartProps) {
  const [table, setTable] = useState(false);
  return (
    <figure class="chart panel">
      <figcaption>
        <h2>{title}</h2>
        <div class="buttons">
          {children}
          <button type="button" class="quiet" aria-pressed={table} onClick={() => setTable(!table)}>{text.chart.table}</button>
        </div>
      </figcaption>
      {table ? <Table title={title} at={at} lines={lines} print={print} /> : <Picture title={title} at={at} lines={lines} print={print} />}
    </figure>
  );
}

function Table({ title, at, lines, print }: ChartProps) {
  const rows = at.map((t, i) => ({ t, values: lines.map((line) => line.values[i] ?? null) })).reverse();
  return (
    <div class="scroll chart-table" tabIndex={0} role="region" aria-label={title}>
      <table>
        <caption class="offscreen">{title}</caption>
        <thead><tr><th scope="col">{text.chart.time}</th>{lines.map((line) => <th key={line.name} scope="col" class="number">{line.name}</th>)}</tr></thead>
        <tbody>
          {rows.map(({ t, values }) => (
            <tr key={t}><td>{stamp(t * 1000, times.value === "utc")}</td>{values.map((v, i) => <td key={i} class="number">{v === null ? "–" : print(v)}</td>)}</tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const height = 180;

function Picture(props: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const { at, lines, title, print } = props;
  const names = lines.map((line) => line.name).join();
  const last = lines.map((line) => `${line.name} ${printLast(line, print)}`).join(", ");

  useEffect(() => {
    const element = box.current!; // the reference is cleared before the effect is cleaned up
    let gone = false;
    let observer: ResizeObserver | undefined;
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const draw = async (): Promise<void> => {
      const { default: UPlot } = await import("./uplot.js");
      if (gone) return;
      plot.current?.destroy();
      const p = latest.current;
      plot.current = new UPlot(optionsOf(p, element), dataOf(p), element);
    };
    void draw().then(() => {
      if (gone) return;
      observer = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height }));
      observer.observe(element);
    });
    dark.addEventListener("change", draw);
    return () => {
      gone = true;
      dark.removeEventListener("change", draw);
      observer?.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [theme.value, times.value, names]);
  useEffect(() => plot.current?.setData(dataOf(latest.current)), [at, lines]);

  return (
    <>
      <div class="chart-box" ref={box} role="img" aria-label={`${title}: ${last}`} />
      <p class="legend" aria-hidden="true">
        {lines.map((line) => (
          <span key={line.name}><i style={{ background: `var(${line.color})` }} />{line.name} <b>{printLast(line, print)}</b></span>
        ))}
      </p>
    </>
  );
}

function printLast(line: Line, print: (value: number) => string): string {
  const value = line.values.findLast((v) => v !== null);
  return value === undefined || value === null ? "–" : print(value);
}

function dataOf({ at, lines }: ChartProps): uPlot.AlignedData {
  return [at, ...lines.map((line) => line.values)];
}

function optionsOf({ lines, print }: ChartProps, box: HTMLElement): uPlot.Options {
  const color = colorsOf(box);
  const axis = {
    stroke: color("--quiet"), font: "12px system-ui, sans-serif",
    grid: { stroke: color("--line"), width: 1 }, ticks: { show: false },
  };
  return {
    width: box.clientWidth, height,
    legend: { show: false },
    cursor: { show: false },
    scales: { y: { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] } },
    axes: [{ ...axis, space: 80, size: 28, values: (_, ticks) => ticks.map((t) => timeOfDay(t * 1000, times.peek() === "utc")) }, { ...axis, size: 56, values: (_, ticks) => ticks.map(print) }],
    series: [{}, ...lines.map((line) => ({
      label: line.name, stroke: color(line.color), width: 2, spanGaps: true, points: { show: false },
      fill: lines.length === 1 ? color(line.color, 0.12) : undefined,
    }))],
  };
}

/** Reads the current colours of the style sheet, which a canvas cannot. */
function colorsOf(box: HTMLElement): (name: string, opacity?: number) => string {
  const probe = document.createElement("i");
  return (name, opacity = 1) => {
    probe.style.color = `color-mix(in srgb, var(${name}) ${opacity * 100}%, transparent)`;
    box.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
  };
}
