import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { mention } from "../announce.js";
import { feedCursor, lastEvents, rates, seen } from "../feed.js";
import { eventFilterQuery, eventMatches, readEventFilter, type EventFilter } from "../filters.js";
import { count, rate } from "../format.js";
import { useEvents } from "../load.js";
import { here, path, setQuery } from "../router.js";
import { admin, mixed } from "../session.js";
import { clock, paused } from "../settings.js";
import { text } from "../strings.js";
import type { FeedEvent } from "../types.js";
import { Empty, Fold, Heading, Payload, Time, TypeMark } from "../ui/basic.js";
import { Json } from "../ui/json.js";
import { brief } from "./eventlist.js";
import { Field } from "./filterbar.js";

const mostShown = 200;

const taskTypes = ["task_queued", "task_started", "task_progress", "task_completed", "task_failed", "task_canceled", "task_deleted", "task_stalled"];

export function Live() {
  const { query } = here.value;
  const key = query.toString();
  const filter = useMemo(() => readEventFilter(query), [key]);
  const { events, held } = useTail(filter, key);
  return (
    <>
      <Heading title={text.screens.live}>
        {paused.value && <p class="held" role="status">{text.pause.held(held)}</p>}
      </Heading>
      <Figures />
      <LiveFilter filter={filter} events={events} />
      {events.length === 0 ? <Empty>{text.live.none}</Empty> : (
        <ol class="events tail panel" aria-label={text.screens.live}>
          {events.map((event) => <Line key={event.id} event={event} />)}
        </ol>
      )}
    </>
  );
}

/** The last matching events, newest first. While paused, events are counted and shown later. */
function useTail(filter: EventFilter, key: string) {
  const matching = (list: readonly FeedEvent[]): FeedEvent[] => list.filter((e) => eventMatches(filter, e)).slice(-mostShown).reverse();
  const [events, set] = useState<FeedEvent[]>([]);
  const held = useRef<FeedEvent[]>([]);
  const [count, setCount] = useState(0);
  useEffect(() => {
    held.current = [];
    setCount(0);
    set(matching(lastEvents()));
  }, [key]);
  const add = (list: readonly FeedEvent[]): void => set((old) => [...matching(list), ...old].slice(0, mostShown));
  useEvents((list) => {
    if (paused.peek()) {
      held.current = [...held.current, ...list].slice(-10 * mostShown);
      setCount((n) => n + list.filter((e) => eventMatches(filter, e)).length);
    } else {
      add(list);
      mention(text.live.seen(seen.peek().events));
    }
  });
  useEffect(() => {
    if (paused.value || held.current.length === 0) return;
    add(held.current);
    held.current = [];
    setCount(0);
  }, [paused.value]);
  return { events, held: count };
}

function Figures() {
  const { live: t } = text;
  return (
    <dl class="facts panel">
      <div><dt>{t.rate}</dt><dd class="figure">{rate(rates.mean(clock.value, 10))}<span class="small"> {t.perSecond}</span></dd></div>
      <div><dt>{t.total}</dt><dd class="figure" data-figure="seen">{count(seen.value.events)}</dd></div>
      <div><dt>{t.cursor}</dt><dd class="figure" data-figure="cursor">{feedCursor.value ?? "–"}</dd></div>
      <div><dt>{t.reconnects}</dt><dd class="figure" data-figure="reconnects">{count(seen.value.reconnects)}</dd></div>
      <div><dt>{t.resets}</dt><dd class="figure" data-figure="resets">{count(seen.value.resets)}</dd></div>
    </dl>
  );
}

function LiveFilter({ filter, events }: { filter: EventFilter; events: readonly FeedEvent[] }) {
  const { live: t } = text;
  const change = (part: Partial<EventFilter>, how: "push" | "replace"): void =>
    setQuery(eventFilterQuery({ ...filter, ...part }), how);
  const custom = filter.types.filter((type) => !taskTypes.includes(type));
  const known = filter.types.filter((type) => taskTypes.includes(type));
  return (
    <search class="filters" aria-label={text.filter.label}>
      <div class="filters-top">
        <fieldset class="chips">
          <legend class="offscreen">{t.types}</legend>
          {taskTypes.map((type) => (
            <label key={type} class="chip">
              <input type="checkbox" checked={known.includes(type)} onChange={(e) => change({
                types: [...taskTypes.filter((x) => (x === type ? e.currentTarget.checked : known.includes(x))), ...custom],
              }, "push")} />
              <TypeMark type={type} />
            </label>
          ))}
        </fieldset>
      </div>
      <Field label={text.filter.text} value={filter.text} onChange={(v) => change({ text: v }, "replace")} type="search" search placeholder={t.textHint} />
      <div class="fields"><div>
        {mixed.value && <Field label={admin.value ? text.filter.user : text.filter.feed} value={filter.user} onChange={(v) => change({ user: v }, "replace")} suggest={events.map((e) => e.user_id ?? "")} />}
        <Field label={t.custom} value={custom.join(", ")} placeholder={t.customHint}
          onChange={(v) => change({ types: [...known, ...v.split(",").map((s) => s.trim()).filter(Boolean)] }, "replace")} />
      </div></div>
    </search>
  );
}

function Line({ event }: { event: FeedEvent }) {
  const { id, type, timestamp, user_id, task_id, version: _, feed: __, ...data } = event;
  const said = event.error ?? event.message ?? (task_id === undefined ? data : event.result);
  return (
    <li data-event={id}>
      <Fold line={<>
        <span class="event-since number">{id}</span>
        <TypeMark type={type} />
        {task_id !== undefined && <span class="number event-percent">{event.progress !== undefined && `${event.progress} %`}</span>}
        {task_id !== undefined && <a href={path("tasks", task_id)}><code>{task_id}</code></a>}
        <span class="event-brief"><Payload>{said === undefined || said === null ? "" : brief(said)}</Payload></span>
        {mixed.value && user_id && <span class="event-user">{user_id}</span>}
        <span class="event-time"><Time at={timestamp} /></span>
      </>}>
        {() => <Json value={event} open={1} />}
      </Fold>
    </li>
  );
}
