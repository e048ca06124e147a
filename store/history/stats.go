package history

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

const (
	maxStalled = 50
	maxCounts  = 5000 // of statuses and kinds, in case an app gives every task a kind of its own
)

// sqlCountTasks is the only statement of the history that reads a whole table.
const sqlCountTasks = `
SELECT status, coalesce(kind, ''), coalesce(source, ''), count(*)
FROM taskfeed.tasks
GROUP BY status, kind, source
ORDER BY array_position(@statuses::text[], status), count(*) DESC, kind, source
LIMIT @limit`

// The minutes are those of the database's clock, like the timestamps of events.
const sqlCountMinutes = `
SELECT minute, coalesce(count, 0)
FROM generate_series(date_trunc('minute', now()) - interval '59 minutes', date_trunc('minute', now()), '1 minute') AS minute
LEFT JOIN (
    SELECT date_trunc('minute', created_at) AS minute, count(*) AS count
    FROM taskfeed.events
    WHERE created_at >= date_trunc('minute', now()) - interval '59 minutes'
    GROUP BY 1) AS counted USING (minute)
ORDER BY minute
LIMIT 60`

const sqlNow = `SELECT clock_timestamp()`

func runningTasks(sort Sort) TaskQuery {
	return TaskQuery{Statuses: []taskfeed.Status{taskfeed.StatusRunning}, Sort: sort}
}

// Stats returns an overview: the counts of tasks, the events of the current minute and
// the 59 before it, and the running task that was created first. Its parts are read one
// after the other, not in one snapshot, each within the read timeout. Counting reads
// the whole table of tasks. It returns CodeUnavailable, with advice, when a part takes
// too long.
func (r *Reader) Stats(ctx context.Context) (Stats, error) {
	var stats Stats
	for _, read := range []func(context.Context) error{
		func(ctx context.Context) (err error) {
			args := pgx.NamedArgs{"statuses": texts(taskfeed.Statuses), "limit": maxCounts}
			stats.Counts, err = readRows(ctx, r, sqlCountTasks, args, pgx.RowToStructByPos[StatusCount])
			return err
		},
		func(ctx context.Context) (err error) {
			stats.PerMinute, err = readRows(ctx, r, sqlCountMinutes, nil, scanMinute)
			return err
		},
		func(ctx context.Context) error {
			tasks, err := r.firstTasks(ctx, runningTasks(SortCreated), 1)
			if len(tasks) > 0 {
				stats.OldestRunning = &tasks[0]
			}
			return err
		},
	} {
		bounded, cancel := r.pool.Bound(ctx)
		err := read(bounded)
		cancel()
		if err != nil {
			return Stats{}, pg.Late(ctx, "read statistics", err)
		}
	}
	return stats, nil
}

// StalledTasks returns up to 50 running tasks that did not change for longer than
// after, those without a change for the longest time first. It returns CodeBadRequest
// unless after is more than 0.
func (r *Reader) StalledTasks(ctx context.Context, after time.Duration) ([]taskfeed.Task, error) {
	if after <= 0 {
		return nil, pg.Refuse("stalled_after", "must be more than 0")
	}
	bounded, cancel := r.pool.Bound(ctx)
	defer cancel()
	var now time.Time
	err := r.pool.Do(bounded, func(db pg.Conn) error { return db.QueryRow(bounded, sqlNow).Scan(&now) })
	if err != nil {
		return nil, pg.Late(ctx, "read the time", err)
	}
	q := runningTasks(SortUpdated)
	q.Updated.To = now.Add(-after)
	tasks, err := r.firstTasks(bounded, q, maxStalled)
	return tasks, pg.Late(ctx, "list stalled tasks", err)
}

func (r *Reader) firstTasks(ctx context.Context, q TaskQuery, limit int) ([]taskfeed.Task, error) {
	l, err := newTaskList(q)
	if err != nil {
		return nil, err
	}
	page, err := readPage(ctx, r, l, "", r.pageOf(limit))
	return page.Items, err
}

func readRows[T any](ctx context.Context, r *Reader, statement string, args pgx.NamedArgs, scan pgx.RowToFunc[T]) (items []T, err error) {
	err = r.pool.Do(ctx, func(db pg.Conn) (err error) {
		items, err = pgx.CollectRows(pg.Query(ctx, db, statement, args), scan)
		return err
	})
	return items, err
}

func scanMinute(row pgx.CollectableRow) (MinuteCount, error) {
	var m MinuteCount
	err := row.Scan(&m.Minute, &m.Count)
	m.Minute = m.Minute.UTC()
	return m, err
}
