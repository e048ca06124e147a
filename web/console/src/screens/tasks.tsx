import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { mention } from "../announce.js";
import { lastEvents } from "../feed.js";
import { filterQuery, isFiltered, noFilter, readFilter, type TaskFilter } from "../filters.js";
import { useEvents, useLoad, type Loaded } from "../load.js";
import { here, setQuery } from "../router.js";
import { applyToRows, rowsOf, type Rows } from "../rows.js";
import { paused } from "../settings.js";
import { listTasks } from "../tasks.js";
import { text } from "../strings.js";
import type { FeedEvent, Page, Task } from "../types.js";
import { Empty, Heading, Loading, ProblemNote } from "../ui/basic.js";
import { FilterBar } from "./filterbar.js";
import { TaskTable } from "./tasktable.js";

export function Tasks() {
  const { query } = here.value;
  const key = query.toString();
  const filter = useMemo(() => readFilter(query), [key]);
  const after = query.get("after") ?? "";
  const page = useLoad(key, (signal) => listTasks(filter, after, signal));
  const { rows, held, reload } = useLiveRows(page, filter, after === "");
  const turn = (next: string): void => {
    const to = filterQuery(filter);
    if (next) to.set("after", next);
    setQuery(to);
  };
  const freshest = (): void => {
    if (after) turn("");
    else reload();
  };

  return (
    <>
      <Heading title={text.screens.tasks}>
        {paused.value && <p class="held" role="status">{text.pause.held(held)}</p>}
        {!paused.value && rows.fresh.size > 0 && (
          <button type="button" class="fresh" onClick={freshest}>{text.tasks.fresh(rows.fresh.size)}</button>
        )}
      </Heading>
      <FilterBar filter={filter} tasks={rows.rows.map((row) => row.task)} onChange={(f, how) => setQuery(filterQuery(f), how)} />
      {page.problem && <ProblemNote problem={page.problem} retry={reload} />}
      {!page.data && !page.problem && <Loading />}
      {page.data && rows.rows.length === 0 && <Nothing onClear={isFiltered(filter) ? () => setQuery(filterQuery({ ...noFilter, sort: filter.sort })) : undefined} />}
      {rows.rows.length > 0 && <TaskTable rows={rows.rows} caption={text.screens.tasks} />}
      {page.data && (after || page.data.next) && (
        <nav class="pages" aria-label={text.tasks.pages}>
          <button type="button" disabled={!after} onClick={() => turn("")}>{text.tasks.firstPage}</button>
          <button type="button" disabled={!page.data.next} onClick={() => turn(page.data!.next!)}>{text.tasks.nextPage}</button>
        </nav>
      )}
    </>
  );
}

const mostHeld = 20_000; // events; after more the page is loaded again

/**
 * Keeps a page of tasks up to date. While paused, events are only counted; they are
 * applied when the user resumes.
 */
function useLiveRows(page: Loaded<Page<Task>>, filter: TaskFilter, first: boolean) {
  const [rows, set] = useState<Rows>(() => rowsOf([]));
  const shown = useRef(rows);
  const held = useRef<FeedEvent[]>([]);
  const [count, setCount] = useState(0);

  const show = (next: Rows): void => {
    shown.current = next;
    set(next);
  };
  const apply = (start: Rows, events: readonly FeedEvent[]): Rows =>
    events.reduce((state, event) => applyToRows(state, event, filter, first), start);

  useEffect(() => {
    held.current = [];
    setCount(0);
    if (!page.data) return;
    const { items, cursor = Infinity } = page.data;
    // Older events may still change rows of later pages, but add no new tasks.
    const start = lastEvents().reduce((state, e) => applyToRows(state, e, filter, first && e.id > cursor), rowsOf(items));
    show(start);
  }, [page.data]);

  useEvents((events) => {
    if (paused.peek()) {
      if (held.current.length < mostHeld) held.current.push(...events);
      setCount((n) => n + events.length);
      return;
    }
    const before = shown.current;
    const next = apply(before, events);
    if (next === before) return;
    show(next);
    if (next.fresh.size > before.fresh.size) mention(text.tasks.fresh(next.fresh.size));
  });

  useEffect(() => {
    if (paused.value || held.current.length === 0) return;
    if (held.current.length < mostHeld) show(apply(shown.current, held.current));
    else page.reload();
    held.current = [];
    setCount(0);
  }, [paused.value]);

  return { rows: page.data ? rows : rowsOf([]), held: count, reload: page.reload };
}

/** Why the list is empty, and what to do. */
function Nothing({ onClear }: { onClear?: () => void }) {
  return (
    <Empty>
      <p>{onClear ? text.tasks.noneMatch : text.tasks.none}</p>
      {onClear ? <button type="button" onClick={onClear}>{text.filter.clear}</button> : <pre tabIndex={0} aria-label={text.tasks.example}>{text.tasks.insert}</pre>}
    </Empty>
  );
}
