import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { get } from "../api.js";
import { save } from "../copy.js";
import { lastEvents } from "../feed.js";
import { duration, shellWord, sqlText } from "../format.js";
import { useEvents, useLoad } from "../load.js";
import { path, server } from "../router.js";
import { admin } from "../session.js";
import { clock, paused } from "../settings.js";
import { text } from "../strings.js";
import { readHistory, tasksPath, type History } from "../tasks.js";
import { afterLook, hadBy, since, type Stay } from "../stays.js";
import { timelineOf } from "../timeline.js";
import type { Connection, FeedEvent, Message, NamedClient, Page, Task as TaskItem } from "../types.js";
import { CopyButton, Empty, Heading, Loading, Payload, ProblemNote, ProgressBar, StatusMark, Time } from "../ui/basic.js";
import { Icon } from "../ui/icons.js";
import { Json } from "../ui/json.js";
import { TimelinePicture } from "../ui/timeline.js";
import { EventList } from "./eventlist.js";
import { changeTask } from "../rows.js";

export function Task({ id }: { id: string }) {
  const read = useLoad("task " + id, (signal) => readHistory(id, signal));
  const { history, held } = useLiveHistory(id, read.data);
  const timeline = useMemo(() => timelineOf(history?.events ?? []), [history?.events]);
  const stays = useStays((admin.value && (history?.task?.user_id ?? history?.events.at(-1)?.user_id)) || "");
  const watched = since(stays?.list ?? [], Date.parse(history?.task?.created_at ?? history?.events[0]?.timestamp ?? "") || 0);
  const { task: t } = text;
  return (
    <>
      <p class="crumbs"><a href={path("tasks")}>{text.screens.tasks}</a></p>
      <Heading title={id}>
        {history && <StatusMark status={history.task?.status ?? "deleted"} />}
        {paused.value && <p class="held" role="status">{text.pause.held(held)}</p>}
      </Heading>
      {read.problem && <ProblemNote problem={read.problem} retry={read.reload} />}
      {!history && !read.problem && <Loading />}
      {history && !history.task && history.events.length === 0 && <Empty>{t.missing}</Empty>}
      {history && (history.task || history.events.length > 0) && (
        <>
          {history.task && <Facts task={history.task} />}
          <section class="panel" aria-labelledby="h-timeline">
            <h2 id="h-timeline">{t.timeline}</h2>
            {history.events.length > 0 ? <TimelinePicture timeline={timeline} stays={watched} /> : <p class="small">{t.noEvents}</p>}
          </section>
          <div class="columns">
            <section class="panel" aria-labelledby="h-events">
              <h2 id="h-events">{t.events(history.events.length)}</h2>
              {history.more && <p class="small">{t.more}</p>}
              <EventList points={timeline.points} />
            </section>
            <div class="stack">
              {history.task && <Outcome task={history.task} />}
              {admin.value && <Messages id={id} />}
              <Take id={id} history={history} />
              {stays && <Watchers user={stays.user} list={watched} last={history.events.at(-1)?.id ?? 0} />}
              {stays && history.events.length > 0 && <Clients user={stays.user} last={history.events.at(-1)!.id} />}
            </div>
          </div>
        </>
      )}
    </>
  );
}

/** Keeps a task and its events up to date; while paused, events are only counted. */
function useLiveHistory(id: string, read: History | null) {
  const [history, set] = useState<History | null>(null);
  const [held, setHeld] = useState<FeedEvent[]>([]);
  const shown = useRef(history);
  const show = (next: History | null): void => {
    shown.current = next;
    set(next);
  };
  const add = (events: readonly FeedEvent[]): void => {
    const before = shown.current;
    const next = before && events.reduce(addEvent, before);
    if (next !== before) show(next);
  };
  const own = (events: readonly FeedEvent[]): FeedEvent[] => events.filter((e) => e.task_id === id);

  useEffect(() => {
    setHeld([]);
    show(read);
    add(own(lastEvents()));
  }, [read]);
  useEvents((events) => {
    if (paused.peek()) setHeld((old) => [...old, ...own(events)]);
    else add(own(events));
  });
  useEffect(() => {
    if (paused.value || held.length === 0) return;
    add(held);
    setHeld([]);
  }, [paused.value]);
  return { history, held: held.length };
}

function addEvent(history: History, event: FeedEvent): History {
  const last = history.events.at(-1);
  const events = (last && event.id <= last.id) || history.more ? history.events : [...history.events, event];
  const task = history.task && changeTask(history.task, event);
  return events === history.events && task === history.task ? history : { ...history, events, task };
}

function Facts({ task }: { task: TaskItem }) {
  const { column: t } = text;
  const open = task.status === "queued" || task.status === "running";
  const began = Date.parse(task.created_at);
  const lasted = open && !paused.value ? Math.floor((clock.value - began) / 1000) * 1000 : Date.parse(task.updated_at) - began;
  return (
    <dl class="facts panel" data-status={task.status}>
      <div class="wide"><dt>{t.progress}</dt><dd><ProgressBar value={task.progress} name={task.id} /></dd></div>
      <div><dt>{t.user}</dt><dd>{task.user_id}</dd></div>
      <div><dt>{text.filter.kind}</dt><dd>{task.kind || "–"}</dd></div>
      {task.source && <div><dt>{text.filter.source}</dt><dd>{admin.value ? <a href="sources">{task.source}</a> : task.source}</dd></div>}
      <div><dt>{text.task.version}</dt><dd class="number">{task.version}</dd></div>
      <div><dt>{t.created}</dt><dd><Time at={task.created_at} /></dd></div>
      <div><dt>{t.changed}</dt><dd><Time at={task.updated_at} /></dd></div>
      <div><dt>{open ? text.task.lasts : text.task.lasted}</dt><dd class="number">{duration(lasted)}</dd></div>
      {task.message && <div class="wide"><dt>{text.task.message}</dt><dd><Payload>{task.message}</Payload></dd></div>}
    </dl>
  );
}

function Outcome({ task }: { task: TaskItem }) {
  if (!task.error && (task.result === undefined || task.result === null)) return null;
  return (
    <section class="panel" aria-labelledby="h-outcome">
      <h2 id="h-outcome">{task.error ? text.task.error : text.task.result}</h2>
      {task.error ? <p class="failure"><Payload>{task.error}</Payload></p> : <Json value={task.result} />}
    </section>
  );
}

/** Copies of the task: as SQL, as a command, as a file. */
function Take({ id, history }: { id: string; history: History }) {
  const { task: t } = text;
  const url = (...parts: string[]): string => new URL(tasksPath(id, ...parts), server).href;
  const curl = (at: string): string => `curl -H "Authorization: Bearer $TASKFEED_TOKEN" ${shellWord(at)}`;
  const sql = `SELECT * FROM taskfeed.tasks WHERE id = ${sqlText(id)};\n\n` +
    `SELECT id, type, version, data, created_at\nFROM taskfeed.events\nWHERE task_id = ${sqlText(id)}\nORDER BY id;`;
  const file = (): Blob => new Blob([JSON.stringify(history, null, 2)], { type: "application/json" });
  return (
    <section class="panel" aria-labelledby="h-take">
      <h2 id="h-take">{t.take}</h2>
      <div class="buttons">
        <CopyButton words={() => id} label={t.copyID} />
        <CopyButton words={() => sql} label={t.copySQL} />
        <CopyButton words={() => `${curl(url())}\n${curl(url("events"))}`} label={t.copyCurl} />
        <button type="button" class="quiet" onClick={() => save(id.replace(/[^\w.-]+/g, "_") + ".json", file())}>
          <Icon name="download" />{t.download}
        </button>
      </div>
    </section>
  );
}

const lookEvery = 3000; // ms

/** Messages of users to the app about the task; nothing while there are none. */
function Messages({ id }: { id: string }) {
  const { task: t } = text;
  const { data } = useLoad("messages about " + id, (signal) => get<Page<Message>>("v1/messages", { query: { task_id: id, limit: "20" }, signal }), lookEvery);
  if (!data?.items.length) return null;
  return (
    <section class="panel" aria-labelledby="h-messages">
      <h2 id="h-messages">{t.messages}</h2>
      <ul class="plain stays">
        {data.items.map((m) => (
          <li key={m.id} data-open={m.waiting}>
            <Icon name={m.waiting ? "away" : "ok"} />
            <span>
              <Payload>{m.topic}</Payload> {t.from(m.user_id)} <Time at={m.created_at} />
              <span class="small"> {m.waiting ? t.waits : t.received}</span>
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** By when each named client of the task's user had the last event; nothing while there are none. */
function Clients({ user, last }: { user: string; last: number }) {
  const { task: t } = text;
  const { data } = useLoad("clients of " + user, (signal) => get<Page<NamedClient>>("v1/user-by-id/clients", { query: { id: user }, signal }), lookEvery);
  if (!data?.items.length) return null;
  return (
    <section class="panel" aria-labelledby="h-clients">
      <h2 id="h-clients">{t.clients(user)}</h2>
      <ul class="plain stays">
        {data.items.map((client) => {
          const at = hadBy(client, last);
          return (
            <li key={client.name} data-open={client.connected}>
              <Icon name={at ? "ok" : "away"} />
              <span>{client.name} {at ? <>{t.hadBy} <Time at={at} /></> : t.hasNot}</span>
            </li>
          );
        })}
      </ul>
    </section>
  );
}

/** All connections of a user that the server knows of, ended or not. */
async function connectionsOf(user: string, signal: AbortSignal): Promise<Connection[]> {
  const query = { user_id: user, ended: "true", limit: "500" };
  const all: Connection[] = [];
  for (let after: string | undefined = ""; after !== undefined;) {
    const page: Page<Connection> = await get("v1/connections", { query: after ? { ...query, after } : query, signal });
    all.push(...page.items);
    after = page.next;
  }
  return all;
}

/** Monitors the connections of a user and remembers ended ones. Returns null until they are known, and for the user "". */
function useStays(user: string): { user: string; list: readonly Stay[] } | null {
  const read = useLoad("connections of " + user, async (signal) => ({
    found: user ? await connectionsOf(user, signal) : [],
    at: Date.now(),
  }), lookEvery);
  const known = useRef<{ user: string; list: readonly Stay[]; at: number }>({ user, list: [], at: 0 });
  if (known.current.user !== user) known.current = { user, list: [], at: 0 };
  const { data } = read;
  if (data && data.at > known.current.at) {
    known.current = { user, list: afterLook(known.current.list, data.found, data.at), at: data.at };
  }
  return user && known.current.at ? known.current : null;
}

/** When the task's user was connected, and whether each connection has received all events of the task. */
function Watchers({ user, list, last }: { user: string; list: readonly Stay[]; last: number }) {
  const { task: t } = text;
  return (
    <section class="panel" aria-labelledby="h-watchers">
      <h2 id="h-watchers">{t.watchers(user)}</h2>
      {list.length === 0 && <p class="small">{t.noWatchers}</p>}
      <ul class="plain stays">
        {list.map((stay) => (
          <li key={stay.id} data-open={stay.end === null}>
            <Icon name={stay.end === null ? "ok" : "away"} />
            <span>
              {stay.transport}, {t.since} <Time at={stay.start} />
              {stay.end !== null && <>, {t.until} <Time at={stay.end} /></>}
              <span class="small"> {stay.cursor >= last ? t.hasAll : t.isBehind}</span>
            </span>
          </li>
        ))}
      </ul>
      {list.length > 0 && <p class="small">{t.watchersHint}</p>}
    </section>
  );
}
