import { useEffect, useRef, useState } from "preact/hooks";
import { duration } from "../format.js";
import { clock, paused } from "../settings.js";
import { text } from "../strings.js";
import type { Stay } from "../stays.js";
import type { Timeline } from "../timeline.js";

const band = { top: 2, height: 24 };
const lane = { top: 32, height: 5 }; // of connections
const plot = { top: 48, height: 84 };
const axis = plot.top + plot.height;
const height = axis + 24;
const side = 8; // px left and right, so that marks at the ends are not cut off

/** A task's history from left to right: its statuses as bands, its user's connections as lines, its progress as a curve. */
export function TimelinePicture({ timeline, stays }: { timeline: Timeline; stays: readonly Stay[] }) {
  const { box, width } = useWidth();
  const { spans, points } = timeline;
  const first = points[0];
  if (!first) return null;
  const open = spans.at(-1)?.end === null;
  const last = points.at(-1)!;
  const end = Math.max(last.at, open && !paused.value ? clock.value : last.at, first.at + 1);
  const x = (at: number): number => side + ((at - first.at) / (end - first.at)) * (width - 2 * side);
  const y = (progress: number): number => plot.top + plot.height * (1 - progress / 100);

  return (
    <figure class="timeline" ref={box}>
      <svg width={width} height={height} role="img" aria-label={text.timeline.picture(points.length, duration(end - first.at))}>
        <path class="timeline-base" d={`M${side} ${axis}H${width - side}`} />
        {ticks(end - first.at).map((ms) => (
          <g key={ms}>
            <path class="timeline-grid" d={`M${x(first.at + ms)} ${plot.top}V${axis + 4}`} />
            <text class="timeline-tick" x={x(first.at + ms)} y={height - 4} text-anchor={ms === 0 ? "start" : "middle"}>{ms === 0 ? "0" : "+" + duration(ms)}</text>
          </g>
        ))}
        {spans.map((span, i) => {
          const from = x(span.start);
          const wide = Math.max(2, x(span.end ?? end) - from);
          const words = `${text.status[span.status]} ${duration((span.end ?? end) - span.start)}`;
          return (
            <g key={i} data-status={span.status}>
              <rect class="timeline-span" x={from} y={band.top} width={wide} height={band.height} rx={6} />
              {wide > words.length * 7.2 + 12 && <text class="timeline-word" x={from + 8} y={band.top + 16.5}>{words}</text>}
              <title>{words}</title>
            </g>
          );
        })}
        {stays.map((stay) => {
          const from = Math.max(stay.start, first.at);
          const until = Math.min(stay.end ?? end, end);
          if (until <= from) return null;
          return (
            <rect key={stay.id} class="timeline-stay" x={x(from)} y={lane.top} width={Math.max(2, x(until) - x(from))} height={lane.height} rx={lane.height / 2}>
              <title>{text.timeline.stay(stay.transport, duration((stay.end ?? end) - stay.start))}</title>
            </rect>
          );
        })}
        <path class="timeline-curve" d={curve(timeline, x, y, open ? end : last.at)} />
        {points.map(({ event, at, progress, status }) => (
          <circle key={event.id} class="timeline-point" data-status={status ?? "deleted"} cx={x(at)}
            cy={progress === null ? axis : y(progress)} r={event.type === "task_progress" ? 3 : 5}>
            <title>{`${event.type}${progress === null ? "" : ` ${progress} %`}, +${duration(at - first.at)}`}</title>
          </circle>
        ))}
      </svg>
      <figcaption class="legend">
        {spans.map((span, i) => (
          <span key={i} data-status={span.status}><i />{text.status[span.status]} <b>{duration((span.end ?? end) - span.start)}</b></span>
        ))}
        {stays.length > 0 && <span data-status="completed"><i />{text.timeline.connected}</span>}
      </figcaption>
    </figure>
  );
}

/** A step curve: progress stays the same until an event changes it. */
function curve({ points }: Timeline, x: (at: number) => number, y: (progress: number) => number, end: number): string {
  let path = "";
  let level: number | null = null;
  for (const { at, progress } of points) {
    if (progress === null) continue;
    path += level === null ? `M${x(at)} ${y(progress)}` : `H${x(at)}V${y(progress)}`;
    level = progress;
  }
  return path && path + `H${x(end)}`;
}

/** Returns where to draw grid lines: at round times, at most six. */
function ticks(span: number): number[] {
  const units = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 3e4, 6e4, 12e4, 3e5, 6e5, 12e5, 18e5, 36e5, 72e5, 108e5, 216e5, 432e5, 864e5];
  let step = units.find((unit) => span / unit <= 5) ?? 864e5;
  while (span / step > 5) step *= 2;
  const list = [];
  for (let at = 0; at < span * 0.96; at += step) list.push(at);
  return list;
}

function useWidth() {
  const box = useRef<HTMLElement>(null);
  const [width, set] = useState(600);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => set(Math.max(200, Math.floor(entry!.contentRect.width))));
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  return { box, width };
}
