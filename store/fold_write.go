package store

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/eventlog"
)

// writing collects the events or tasks that a page makes, a slice for each column, so
// that one statement writes all of them.
type writing struct {
	users    []*string
	tasks    []*string
	types    []string
	versions []*int64
	at       []time.Time
	data     []*string // JSON; null where the statement makes it of the columns below
	statuses []string
	kinds    []*string
	progress []int16
	messages []*string
	results  []*string
	errors   []*string
}

// change adds an event as it stands.
func (w *writing) change(c change) {
	data, task := string(c.data), &c.task
	if c.task == "" {
		task = nil
	}
	w.add(c.user, task, c.kind, c.version, c.at, &data, folded{})
}

// told adds events of tasks.
func (w *writing) told(events []told) {
	for _, e := range events {
		var data *string
		if e.eventType == taskfeed.TypeTaskDeleted {
			data = new("{}")
		}
		w.add(&e.user, &e.id, string(e.eventType), &e.version, e.at, data, e.task)
	}
}

func (w *writing) add(user, task *string, eventType string, version *int64, at time.Time, data *string, t folded) {
	w.users, w.tasks, w.types = append(w.users, user), append(w.tasks, task), append(w.types, eventType)
	w.versions, w.at, w.data = append(w.versions, version), append(w.at, at), append(w.data, data)
	w.statuses, w.kinds, w.progress = append(w.statuses, string(t.status)), append(w.kinds, t.kind), append(w.progress, int16(t.progress))
	w.messages, w.results, w.errors = append(w.messages, t.message), append(w.results, t.result), append(w.errors, t.errorText)
}

// A page of a backlog returns how many events it appended, and the last id. Any other
// returns the events.
const (
	sqlAppendFolded = `
WITH appended AS (
    INSERT INTO taskfeed.events (id, user_id, task_id, type, version, data, created_at)
    SELECT nextval('taskfeed.event_id'), user_id, task_id, type, version,
        CASE WHEN data IS NOT NULL THEN data::jsonb
             WHEN type = 'task_progress' THEN ` + sqlProgressData + ` -- it fits: see maxMessageBytes
             ELSE taskfeed.task_data(status, kind, progress, message, result::jsonb, error)
        END, created_at
    FROM (
        SELECT user_id, task_id, type, version, created_at, data, status, kind, progress, message, result, error
        FROM unnest(@users::text[], @tasks::text[], @types::text[], @versions::bigint[], @at::timestamptz[], @data::text[],
            @statuses::text[], @kinds::text[], @progress::smallint[], @messages::text[], @results::text[], @errors::text[])
            WITH ORDINALITY AS e (user_id, task_id, type, version, created_at, data, status, kind, progress, message, result, error, place)
        ORDER BY place) AS in_order
    RETURNING ` + eventlog.Columns + `
), ` + sqlTold

	sqlFoldedEvents = sqlAppendFolded + `
SELECT ` + eventlog.Scanned + `
FROM appended
LEFT JOIN told ON true
ORDER BY id`

	sqlFoldedCount = sqlAppendFolded + `
SELECT count(id), max(id)
FROM appended
LEFT JOIN told ON true`
)

func (w *writing) args() pgx.NamedArgs {
	return pgx.NamedArgs{"users": w.users, "tasks": w.tasks, "types": w.types, "versions": w.versions, "at": w.at, "data": w.data,
		"statuses": w.statuses, "kinds": w.kinds, "progress": w.progress, "messages": w.messages, "results": w.results, "errors": w.errors}
}

// write writes the events and tasks of a segment.
func (f *foldTx) write(ctx context.Context, w *writing, folder *folder) (m taskfeed.Moved, err error) {
	if err := f.writeEvents(ctx, w, &m); err != nil {
		return m, err
	}
	if err := f.writeTasks(ctx, folder); err != nil {
		return m, err
	}
	return m, f.writeCounts(ctx, folder.counts)
}

func (f *foldTx) writeEvents(ctx context.Context, w *writing, m *taskfeed.Moved) error {
	switch {
	case len(w.types) == 0:
		return nil
	case f.backlog:
		return f.tx.QueryRow(ctx, sqlFoldedCount, w.args()).Scan(&m.Count, (*int64)(&m.Last))
	}
	var e taskfeed.Event
	rows, _ := f.tx.Query(ctx, sqlFoldedEvents, w.args()) // rows tell of errors too
	_, err := pgx.ForEachRow(rows, eventlog.Targets(&e), func() error {
		m.Events = append(m.Events, e) // pgx scans into new memory each time
		return nil
	})
	m.Count, m.Last = len(m.Events), e.ID
	return err
}

const sqlWriteTasks = `
INSERT INTO taskfeed.tasks AS t (id, source, user_id, owners, kind, status, progress, message, result, error, version, created_at, updated_at)
SELECT e.id, e.source, e.owners::jsonb->>0,
    CASE WHEN jsonb_array_length(e.owners::jsonb) > 1 THEN ARRAY(SELECT jsonb_array_elements_text(e.owners::jsonb)) END,
    e.kind, e.status, e.progress, e.message, e.result::jsonb, e.error, e.version, e.created_at, e.updated_at
FROM unnest(@ids::text[], @sources::text[], @owners::text[], @kinds::text[], @statuses::text[], @progress::smallint[], @messages::text[],
    @results::text[], @errors::text[], @versions::bigint[], @created::timestamptz[], @updated::timestamptz[])
    AS e (id, source, owners, kind, status, progress, message, result, error, version, created_at, updated_at)
ON CONFLICT ON CONSTRAINT tasks_pkey DO UPDATE
SET source = excluded.source, user_id = excluded.user_id, owners = excluded.owners, kind = excluded.kind, status = excluded.status,
    progress = excluded.progress, message = excluded.message, result = excluded.result, error = excluded.error,
    version = excluded.version, created_at = excluded.created_at, updated_at = excluded.updated_at
WHERE t.source IN (excluded.source, '-' || excluded.source)`

// writeTasks writes the tasks that changed.
func (f *foldTx) writeTasks(ctx context.Context, folder *folder) error {
	w := new(writing)
	var ids, sources, owned, gone []string
	var versions []int64
	var created []time.Time
	for _, id := range slices.Sorted(maps.Keys(folder.dirty)) {
		t := folder.tasks[id]
		if !t.exists() {
			gone = append(gone, id)
			continue
		}
		list, err := json.Marshal(t.owners)
		if err != nil {
			return err
		}
		ids, sources, owned = append(ids, id), append(sources, t.source), append(owned, string(list))
		versions, created = append(versions, t.version), append(created, t.createdAt)
		w.add(nil, nil, "", nil, t.updatedAt, nil, t)
	}
	if len(ids)+len(gone) == 0 {
		return nil
	}
	if _, err := f.tx.Exec(ctx, sqlFolding); err != nil {
		return err
	}
	if len(ids) > 0 {
		args := pgx.NamedArgs{"ids": ids, "sources": sources, "owners": owned, "kinds": w.kinds, "statuses": w.statuses, "progress": w.progress,
			"messages": w.messages, "results": w.results, "errors": w.errors, "versions": versions, "created": created, "updated": w.at}
		if _, err := f.tx.Exec(ctx, sqlWriteTasks, args); err != nil {
			return err
		}
	}
	if len(gone) == 0 {
		return nil
	}
	_, err := f.deleteTasks(ctx, `t.id = ANY (@ids) AND t.source IS NOT NULL`, pgx.NamedArgs{"ids": gone})
	return err
}

// A DELETE would run the triggers and foreign keys of other roles with our rights, see
// taskfeed.bound_by_others. While there are any on the table of tasks, rows are only
// marked as gone. The lock keeps others from adding one before the end of the
// transaction.
const (
	sqlLockTasks  = `LOCK TABLE taskfeed.tasks IN ROW EXCLUSIVE MODE`
	sqlTasksBound = `SELECT EXISTS (SELECT FROM taskfeed.bound_by_others() AS b WHERE b.relation = 'taskfeed.tasks'::regclass)`
	sqlDelete     = `DELETE FROM taskfeed.tasks AS t WHERE `
	sqlMarkGone   = `UPDATE taskfeed.tasks AS t SET source = '-' || t.source WHERE t.source NOT LIKE '-%' AND `
)

func (f *foldTx) deleteTasks(ctx context.Context, which string, args pgx.NamedArgs) (int, error) {
	if _, err := f.tx.Exec(ctx, sqlLockTasks); err != nil {
		return 0, err
	}
	var bound bool
	if err := f.tx.QueryRow(ctx, sqlTasksBound).Scan(&bound); err != nil {
		return 0, err
	}
	statement := sqlDelete
	if bound {
		statement = sqlMarkGone
	}
	tag, err := f.tx.Exec(ctx, statement+which, args)
	return int(tag.RowsAffected()), err
}

// Of the values that the map does not name, the 50 most frequent are kept.
const sqlWriteCounts = `
INSERT INTO taskfeed.source_states AS s (name, errors, unmapped, unowned, unknown, last_error, error_at, reset_owed)
VALUES (@name, @errors, @unmapped, @unowned, @unknown::text::jsonb, nullif(@reason::text, ''), CASE WHEN @reason <> '' THEN clock_timestamp() END, @reset)
ON CONFLICT ON CONSTRAINT source_states_pkey DO UPDATE
SET errors = s.errors + excluded.errors, unmapped = s.unmapped + excluded.unmapped, unowned = s.unowned + excluded.unowned,
    unknown = coalesce((
        SELECT jsonb_object_agg(k.key, k.n)
        FROM (
            SELECT u.key, sum(u.value::bigint) AS n
            FROM (SELECT key, value FROM jsonb_each_text(s.unknown) UNION ALL SELECT key, value FROM jsonb_each_text(excluded.unknown)) AS u
            GROUP BY u.key
            ORDER BY n DESC, u.key
            LIMIT 50) AS k), '{}'),
    last_error = coalesce(excluded.last_error, s.last_error), error_at = coalesce(excluded.error_at, s.error_at),
    reset_owed = s.reset_owed OR excluded.reset_owed,
    filled = s.filled AND NOT @again, place = CASE WHEN NOT @again THEN s.place END`

// writeCounts stores what went wrong, by source.
func (f *foldTx) writeCounts(ctx context.Context, all map[string]*counts) error {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		c := all[name]
		if c.errors+c.unmapped+c.unowned == 0 && !c.reset {
			continue
		}
		unknown, err := json.Marshal(c.unknown)
		if err != nil {
			return err
		}
		if _, err := f.tx.Exec(ctx, sqlWriteCounts, pgx.NamedArgs{"name": name, "errors": c.errors, "unmapped": c.unmapped, "unowned": c.unowned,
			"unknown": string(unknown), "reason": shorten(c.lastError, 500), "reset": c.reset, "again": c.again}); err != nil {
			return err
		}
		if c.reset {
			f.s.sources.loaded = false
		}
	}
	return nil
}

// When a table was truncated, either all of its tasks are deleted, or its users get a
// feed_reset and the open ones are deleted.
const (
	sqlTruncateDeleted = `
WITH appended AS (
    INSERT INTO taskfeed.events (id, user_id, task_id, type, version, data, created_at)
    SELECT nextval('taskfeed.event_id'), user_id, id, 'task_deleted', taskfeed.next_version(version), '{}', @at
    FROM (
        SELECT u AS user_id, t.id, t.version
        FROM taskfeed.tasks AS t
        CROSS JOIN unnest(coalesce(t.owners, ARRAY[t.user_id])) AS u
        WHERE t.source = @source
          AND t.status IN ('queued', 'running')
        ORDER BY t.id) AS in_order
    RETURNING id
), ` + sqlTold + `
SELECT count(id), coalesce(max(id), 0)
FROM appended
LEFT JOIN told ON true`

	sqlTellReset = `
WITH appended AS (
    INSERT INTO taskfeed.events (id, user_id, type, data, created_at)
    SELECT id, user_id, 'feed_reset', jsonb_build_object('reason', 'source_broken', 'source', @source::text, 'cursor', id), clock_timestamp()
    FROM (
        SELECT nextval('taskfeed.event_id') AS id, user_id
        FROM (
            SELECT DISTINCT u AS user_id
            FROM taskfeed.tasks AS t
            CROSS JOIN unnest(coalesce(t.owners, ARRAY[t.user_id])) AS u
            WHERE t.source = @source
              AND t.status IN ('queued', 'running')
            ORDER BY u) AS owners) AS numbered
    RETURNING id
), ` + sqlTold + `
SELECT count(id), coalesce(max(id), 0)
FROM appended
LEFT JOIN told ON true`
)

// truncate folds the fact that a table was truncated.
func (f *foldTx) truncate(ctx context.Context, c change) (count int, last taskfeed.Cursor, err error) {
	x, err := c.fact()
	if err != nil {
		return 0, 0, err
	}
	statement, which := sqlTellReset, `t.source = @source AND t.status IN ('queued', 'running')`
	if x.data.OnTruncate == "deleted" {
		statement, which = sqlTruncateDeleted, `t.source = @source`
	}
	args := pgx.NamedArgs{"source": c.source, "at": c.at}
	if err := f.tx.QueryRow(ctx, statement, args).Scan(&count, &last); err != nil {
		return 0, 0, err
	}
	if _, err := f.tx.Exec(ctx, sqlFolding); err != nil {
		return 0, 0, err
	}
	_, err = f.deleteTasks(ctx, which, pgx.NamedArgs{"source": c.source})
	return count, last, err
}
