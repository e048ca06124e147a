package history

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// A change of a task's owner makes two events of one version: a deletion for the former
// owner and the status for the new one. That deletion is not the end of the task. A
// task that is still queued or running is so until now, unless its row was removed
// without an event (TRUNCATE).
const sqlTaskSummary = `
WITH told AS (
    SELECT id, type, created_at,
        type = 'task_deleted' AND lead(version) OVER (ORDER BY id) IS NOT DISTINCT FROM version AS handed_over
    FROM taskfeed.events
    WHERE task_id = @task_id
      AND (@everybody OR user_id = ANY (@users::text[]))
), steps AS (
    SELECT type, created_at,
        lag(type) OVER (ORDER BY id) AS before,
        lead(created_at) OVER (ORDER BY id) AS until
    FROM told
    WHERE type NOT IN ('task_progress', 'task_stalled')
      AND NOT handed_over
), present AS (
    SELECT EXISTS (SELECT FROM taskfeed.tasks WHERE id = @task_id AND (@everybody OR user_id = ANY (@users::text[]))) AS there
), spent AS (
    SELECT type, before,
        greatest(extract(epoch FROM coalesce(until, CASE WHEN there THEN clock_timestamp() ELSE created_at END) - created_at), 0) AS seconds
    FROM steps
    CROSS JOIN present
)
SELECT (SELECT there FROM present),
    (SELECT count(*) FROM told),
    (SELECT count(*) FROM told WHERE type = 'task_progress'),
    (SELECT min(created_at) FROM told),
    (SELECT max(created_at) FROM told),
    count(*) FILTER (WHERE type = 'task_started' AND before IS DISTINCT FROM type),
    coalesce(sum(seconds * 1000000) FILTER (WHERE type = 'task_queued'), 0)::bigint,
    coalesce(sum(seconds * 1000000) FILTER (WHERE type = 'task_started'), 0)::bigint
FROM spent`

// TaskEvents returns one page of the events of a task, oldest first, and with the first
// page their summary. The events of a deleted task stay as long as the log keeps them.
// It returns CodeNotFound when there is neither a task with this id nor an event of
// one. It does not check the owner.
func (r *Reader) TaskEvents(ctx context.Context, taskID, after string, limit int) (Timeline, error) {
	return r.timeline(ctx, taskID, nil, after, limit)
}

// UserTaskEvents is TaskEvents with only the events of a user and the groups that they
// see. A task that was never theirs is not found, and of a task that changed its owner the
// events of others are left out.
func (r *Reader) UserTaskEvents(ctx context.Context, users []string, taskID, after string, limit int) (Timeline, error) {
	if len(users) == 0 || users[0] == "" { // it would select the events of everybody
		return Timeline{}, errNoTask
	}
	return r.timeline(ctx, taskID, users, after, limit)
}

func (r *Reader) timeline(ctx context.Context, taskID string, users []string, after string, limit int) (Timeline, error) {
	var t Timeline
	if err := checkLimit(limit); err != nil {
		return t, err
	}
	if taskID == "" { // would select the events of all
		return t, errNoTask
	}
	q := EventQuery{TaskID: taskID, Sort: SortID}
	if len(users) > 0 {
		q.UserID, q.Feeds = users[0], users[1:]
	}
	l, err := newEventList(q)
	if err != nil {
		return t, err
	}
	bounded, cancel := r.pool.Bound(ctx)
	defer cancel()
	if after == "" {
		if t.Summary, err = r.taskSummary(bounded, taskID, users); err != nil {
			return Timeline{}, pg.Late(ctx, "sum up a task's events", err)
		}
	} else if t.Previous, _, err = l.start(after); err != nil {
		return t, err
	}
	t.EventPage, err = readPage(bounded, r, l, after, r.pageOf(limit))
	return t, pg.Late(ctx, "read a task's events", err)
}

func (r *Reader) taskSummary(ctx context.Context, taskID string, users []string) (*TaskSummary, error) {
	var sum TaskSummary
	var there bool
	var first, last *time.Time
	var queued, running int64 // microseconds
	targets := []any{&there, &sum.Events, &sum.ProgressSteps, &first, &last, &sum.Attempts, &queued, &running}
	err := r.pool.Do(ctx, func(db pg.Conn) error {
		rows := pg.Query(ctx, db, sqlTaskSummary, pgx.NamedArgs{"task_id": taskID, "everybody": len(users) == 0, "users": users})
		_, err := pgx.ForEachRow(rows, targets, func() error { return nil })
		return err
	})
	if err != nil {
		return nil, err
	}
	if !there && sum.Events == 0 {
		return nil, errNoTask
	}
	if first != nil && last != nil {
		sum.First, sum.Last = first.UTC(), last.UTC()
	}
	sum.Queued, sum.Running = time.Duration(queued)*time.Microsecond, time.Duration(running)*time.Microsecond
	return &sum, nil
}

var errNoTask = &taskfeed.Error{Code: taskfeed.CodeNotFound, Message: "there is no task of this id, and no event of one is kept"}
