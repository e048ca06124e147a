import { useEffect, useId, useRef, useState } from "preact/hooks";
import { Problem } from "../api.js";
import { save } from "../copy.js";
import { isFiltered, noFilter, type SortOrder, type TaskFilter } from "../filters.js";
import { admin, mixed, session } from "../session.js";
import { text } from "../strings.js";
import { exportTasks } from "../tasks.js";
import { statuses, type Task } from "../types.js";
import { Choice, ProblemNote } from "../ui/basic.js";
import { Icon } from "../ui/icons.js";

type Change = (filter: TaskFilter, how: "push" | "replace") => void;

/** The filter of the list of tasks. Each change is in the URL at once, or soon after typing. */
export function FilterBar({ filter, tasks, onChange }: { filter: TaskFilter; tasks: readonly Task[]; onChange: Change }) {
  const { filter: t } = text;
  const narrowed = Boolean(filter.user || filter.kind || filter.source || filter.from || filter.to);
  const [more, setMore] = useState(() => narrowed || matchMedia("(min-width: 821px)").matches);
  const change = (part: Partial<TaskFilter>): void => onChange({ ...filter, ...part }, "push");
  const typed = (part: Partial<TaskFilter>): void => onChange({ ...filter, ...part }, "replace");
  return (
    <search class="filters" aria-label={t.label}>
      <div class="filters-top">
        <fieldset class="chips">
          <legend class="offscreen">{t.status}</legend>
          {statuses.map((status) => (
            <label key={status} class="chip" data-status={status}>
              <input type="checkbox" checked={filter.status.includes(status)} onChange={(e) => change({
                status: statuses.filter((s) => (s === status ? e.currentTarget.checked : filter.status.includes(s))),
              })} />
              <Icon name={status} />{text.status[status]}
            </label>
          ))}
        </fieldset>
        <div class="buttons push">
          {isFiltered(filter) && (
            <button type="button" class="quiet" aria-label={t.clear} onClick={() => onChange({ ...noFilter, sort: filter.sort }, "push")}>{t.clearShort}</button>
          )}
          <ExportButtons filter={filter} />
          <Choice<SortOrder> label={t.sort} value={filter.sort} onChange={(sort) => change({ sort })} options={[
            ["-created", t.newest], ["created", t.oldest], ["-updated", t.changedLast], ["updated", t.changedFirst]]} />
        </div>
      </div>
      <Field label={t.text} value={filter.text} onChange={(v) => typed({ text: v })} type="search" search placeholder={t.textHint} />
      <details class="fields" open={more} onToggle={(e) => setMore(e.currentTarget.open)}>
        <summary>{t.more}</summary>
        <div>
          {mixed.value && <Field label={admin.value ? t.user : t.feed} value={filter.user} onChange={(v) => typed({ user: v })}
            suggest={admin.value ? tasks.map((task) => task.user_id) : [session.value!.user, ...session.value!.groups]} />}
          <Field label={t.kind} value={filter.kind} onChange={(v) => typed({ kind: v })} suggest={tasks.map((task) => task.kind ?? "")} />
          <Field label={t.source} value={filter.source} onChange={(v) => typed({ source: v })} suggest={tasks.map((task) => task.source ?? "")} />
          <Field label={t.from} value={filter.from} onChange={(v) => typed({ from: v })} type="datetime-local" />
          <Field label={t.to} value={filter.to} onChange={(v) => typed({ to: v })} type="datetime-local" />
        </div>
      </details>
    </search>
  );
}

const typingPause = 300; // ms

interface FieldProps {
  label: string; value: string; onChange: (value: string) => void;
  type?: "text" | "search" | "datetime-local"; search?: boolean; placeholder?: string;
  /** Suggested values. */
  suggest?: readonly string[];
}

/** A field whose value is applied when typing pauses, and at once on Enter. */
export function Field({ label, value, onChange, type = "text", search, placeholder, suggest }: FieldProps) {
  const list = useId();
  const values = [...new Set(suggest)].filter(Boolean).sort();
  const [draft, setDraft] = useState(value);
  const timer = useRef(0);
  const latest = useRef(onChange);
  latest.current = onChange;
  useEffect(() => setDraft(value), [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const settle = (next: string, wait: number): void => {
    setDraft(next);
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => { if (next.trim() !== value) latest.current(next.trim()); }, wait);
  };
  return (
    <label class="field">
      <span>{label}</span>
      <input type={type as "text"} value={draft} placeholder={placeholder} data-search={search ? "" : undefined}
        autocomplete="off" spellcheck={false} step={type === "datetime-local" ? 1 : undefined}
        list={values.length > 0 ? list : undefined}
        onInput={(e) => settle(e.currentTarget.value, typingPause)}
        onKeyDown={(e) => { if (e.key === "Enter") settle(e.currentTarget.value, 0); }} />
      {values.length > 0 && <datalist id={list}>{values.map((v) => <option key={v} value={v} />)}</datalist>}
    </label>
  );
}

function ExportButtons({ filter }: { filter: TaskFilter }) {
  const [problem, set] = useState<Problem | null>(null);
  const saver = (accept: "text/csv" | "application/x-ndjson", name: string) => async (): Promise<void> => {
    try {
      save(name, await exportTasks(filter, accept));
      set(null);
    } catch (error) {
      if (error instanceof Problem) set(error);
    }
  };
  return (
    <>
      <button type="button" class="quiet" onClick={saver("text/csv", "tasks.csv")}><Icon name="download" />CSV</button>
      <button type="button" class="quiet" onClick={saver("application/x-ndjson", "tasks.ndjson")}><Icon name="download" />NDJSON</button>
      {problem && <ProblemNote problem={problem} />}
    </>
  );
}
