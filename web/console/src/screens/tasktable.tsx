import type { Row } from "../rows.js";
import { path } from "../router.js";
import { mixed } from "../session.js";
import { text } from "../strings.js";
import { Payload, ProgressBar, StatusMark, Time } from "../ui/basic.js";

/** Tasks as rows; on a narrow screen each is a card. */
export function TaskTable({ rows, caption }: { rows: readonly Row[]; caption: string }) {
  const { column: t } = text;
  return (
    <table class="cards tasks">
      <caption class="offscreen">{caption}</caption>
      <thead>
        <tr>
          <th scope="col">{t.status}</th>
          <th scope="col">{t.task}</th>
          {mixed.value && <th scope="col">{t.user}</th>}
          <th scope="col">{t.progress}</th>
          <th scope="col">{t.created}</th>
          <th scope="col">{t.changed}</th>
        </tr>
      </thead>
      <tbody>{rows.map((row) => <TaskRow key={row.task.id} row={row} />)}</tbody>
    </table>
  );
}

function TaskRow({ row: { task, deleted, left } }: { row: Row }) {
  const { column: t } = text;
  const said = task.error || task.message;
  return (
    <tr data-task={task.id} data-left={left || undefined} data-status={deleted ? "deleted" : task.status}>
      <td class="cell-status">
        <StatusMark status={deleted ? "deleted" : task.status} />
        {left && !deleted && <span class="small">{text.tasks.left}</span>}
      </td>
      <td class="cell-task">
        <a href={path("tasks", task.id)}>{task.id}</a>
        <span class="kind">{task.kind}</span>
        {said && <span class="said" data-error={task.error ? "" : undefined}><Payload>{said}</Payload></span>}
      </td>
      {mixed.value && <td class="cell-user" data-label={t.user}>{task.user_id}</td>}
      <td class="cell-progress"><ProgressBar value={task.progress} name={task.id} /></td>
      <td class="cell-time" data-label={t.created}><Time at={task.created_at} /></td>
      <td class="cell-time" data-label={t.changed}><Time at={task.updated_at} /></td>
    </tr>
  );
}
