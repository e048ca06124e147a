import { duration } from "../format.js";
import { changesOf, type Point } from "../timeline.js";
import { text } from "../strings.js";
import type { FeedEvent } from "../types.js";
import { Fold, Payload, Time, TypeMark } from "../ui/basic.js";
import { Json } from "../ui/json.js";

/** A task's events, oldest first, each with its changes and the time since the previous event. */
export function EventList({ points }: { points: readonly Point[] }) {
  return (
    <ol class="events">
      {points.map((point, i) => (
        <li key={point.event.id} data-event={point.event.id}>
          <Fold line={<>
            <span class="event-since number">{point.since === null ? text.event.first : "+" + duration(point.since)}</span>
            <TypeMark type={point.event.type} />
            <span class="event-brief"><Payload>{changed(points[i - 1]?.event, point.event)}</Payload></span>
            <span class="event-time"><Time at={point.event.timestamp} /></span>
          </>}>
            {() => <Json value={point.event} open={1} />}
          </Fold>
        </li>
      ))}
    </ol>
  );
}

/** The changes of an event in one line. */
function changed(before: FeedEvent | undefined, event: FeedEvent): string {
  return changesOf(before, event).map((name) => {
    const value = event[name];
    if (name === "progress") {
      return typeof before?.progress === "number" ? `${before.progress} → ${value} %` : `${value} %`;
    }
    return `${name === "message" ? "" : name + " "}${brief(value)}`;
  }).join(" · ");
}

const briefest = 120; // characters

export function brief(value: unknown): string {
  const words = typeof value === "string" ? value : JSON.stringify(value) ?? "";
  return words.length > briefest ? words.slice(0, briefest) + "…" : words;
}
