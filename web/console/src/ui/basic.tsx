import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Problem } from "../api.js";
import { copy } from "../copy.js";
import { ago, stamp } from "../format.js";
import { clock, payloads, times } from "../settings.js";
import { text } from "../strings.js";
import { Icon, type IconName } from "./icons.js";

/** A task's status, by icon and word. */
export function StatusMark({ status }: { status: string }) {
  return (
    <span class="status" data-status={status}>
      <Icon name={status as IconName} />
      {text.status[status as keyof typeof text.status] ?? status}
    </span>
  );
}

/** The type of an event, with the icon of the status that it leads to. */
export function TypeMark({ type }: { type: string }) {
  const icons: Record<string, IconName> = {
    task_queued: "queued", task_started: "running", task_progress: "running",
    task_completed: "completed", task_failed: "failed", task_canceled: "canceled", task_deleted: "deleted", task_stalled: "running",
  };
  const icon = icons[type];
  return (
    <span class="type" data-status={icon ?? "custom"}>
      {icon && <Icon name={icon} />}
      {type}
    </span>
  );
}

/** A point in time in the format of the user's settings; its title has the full time. */
export function Time({ at }: { at: string | number }) {
  const ms = typeof at === "number" ? at : Date.parse(at);
  const utc = times.value === "utc";
  const words = times.value === "relative" ? ago(ms, clock.value) : stamp(ms, utc);
  return <time dateTime={isNaN(ms) ? undefined : new Date(ms).toISOString()} title={stamp(ms, utc)}>{words}</time>;
}

export function ProgressBar({ value, name }: { value: number; name: string }) {
  return (
    <span class="progress">
      <progress max={100} value={value} aria-label={text.progressOf(name)} />
      <span class="percent">{value} %</span>
    </span>
  );
}

/** Data of the app in a task, unless the user has chosen to cover it. */
export function Payload({ children }: { children: ComponentChildren }) {
  if (payloads.value === "covered") return <span class="covered">{text.covered}</span>;
  return <>{children}</>;
}

export function CopyButton({ words, label }: { words: () => string; label: string }) {
  const [done, set] = useState(false);
  useEffect(() => {
    if (!done) return;
    const timer = setTimeout(() => set(false), 2000);
    return () => clearTimeout(timer);
  }, [done]);
  return (
    <button type="button" class="quiet" onClick={async () => set(await copy(words()))}>
      <Icon name={done ? "ok" : "copy"} />{done ? text.copied : label}
    </button>
  );
}

/** An error of the server, with the request id to find it in the log. */
export function ProblemNote({ problem, retry }: { problem: Problem; retry?: () => void }) {
  const { code, request_id, errors } = problem.document;
  return (
    <div class="note bad" role="alert">
      <Icon name="warning" />
      <div>
        <p><strong>{problem.document.title ?? text.problem.title}</strong>: {problem.message}</p>
        {errors && errors.length > 0 && (
          <ul>{errors.map((e) => <li key={e.field}>{e.field && <code>{e.field}</code>} {e.detail}</li>)}</ul>
        )}
        {(code || request_id) && (
          <p class="small">{code && <>{text.problem.code} <code>{code}</code></>} {request_id && <>{text.problem.request} <code>{request_id}</code></>}</p>
        )}
        {retry && <button type="button" onClick={retry}>{text.retry}</button>}
      </div>
    </div>
  );
}

/** The heading of a screen. It gets the focus when the screen opens, so that screen readers start there. */
export function Heading({ title, children }: { title: string; children?: ComponentChildren }) {
  useEffect(() => { document.title = `${title} · ${text.product}`; }, [title]);
  return (
    <div class="heading">
      <h1 tabIndex={-1}>{title}</h1>
      {children}
    </div>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <div class="empty">{children}</div>;
}

export function Loading() {
  return <p class="empty" role="status">{text.loading}</p>;
}

/** A dialog that keeps the focus; Escape and a click beside it close it. */
export function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children: ComponentChildren }) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = ref.current!;
    const before = document.activeElement as HTMLElement | null;
    dialog.showModal();
    return () => {
      dialog.close();
      if (before?.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog ref={ref} aria-labelledby="dialog-title"
      onCancel={(e) => { e.preventDefault(); onClose(); }}
      onClick={(e) => { if (e.target === e.currentTarget) onClose(); }}>
      <div class="dialog">
        <h2 id="dialog-title">{title}</h2>
        {children}
      </div>
    </dialog>
  );
}

/** A line that unfolds. Its content is created when it is first opened, because a list may have hundreds. */
export function Fold({ line, children }: { line: ComponentChildren; children: () => ComponentChildren }) {
  const [open, set] = useState(false);
  return (
    <details onToggle={(e) => set(e.currentTarget.open)}>
      <summary>{line}</summary>
      {open && children()}
    </details>
  );
}

/** A choice of a few options. */
export function Choice<T extends string>({ label, value, options, onChange }: {
  label: string; value: T; options: readonly (readonly [T, string])[]; onChange: (value: T) => void;
}) {
  return (
    <label class="choice">
      <span>{label}</span>
      <select value={value} onChange={(e) => onChange(e.currentTarget.value as T)}>
        {options.map(([option, name]) => <option key={option} value={option}>{name}</option>)}
      </select>
    </label>
  );
}

/** The groups whose feeds a user sees besides their own. */
export function Groups({ ids }: { ids: readonly string[] | undefined }) {
  return ids?.length ? <span class="small groups" title={text.groups}>{ids.join(", ")}</span> : null;
}
