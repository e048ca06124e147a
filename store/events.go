package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
)

// maxPageBytes bounds the data of one page of events; a page holds one event at
// least.
const maxPageBytes = 4 << 20

// tableColumns are what changes and events have in common, eventColumns the same
// as scanEvent reads them.
const tableColumns = `id, user_id, task_id, type, version, data, created_at`

const eventColumns = `id, coalesce(user_id, '') AS user_id, coalesce(task_id, '') AS task_id, type, coalesce(version, 0) AS version, data, created_at`

// Each branch walks its own index in order and stops at the limit; one scan with
// OR would have to choose between reading everybody's events and sorting.
const sqlFeedAfter = `
SELECT ` + eventColumns + `
FROM (
    (SELECT ` + tableColumns + `
    FROM taskfeed.events
    WHERE user_id = @user_id
      AND id > @after
    ORDER BY id
    LIMIT @limit)
    UNION ALL
    (SELECT ` + tableColumns + `
    FROM taskfeed.events
    WHERE user_id IS NULL -- a broadcast
      AND id > @after
    ORDER BY id
    LIMIT @limit)
) AS feed
ORDER BY feed.id
LIMIT @limit`

const sqlLogAfter = `
SELECT ` + eventColumns + `
FROM taskfeed.events
WHERE id > @after
ORDER BY id
LIMIT @limit`

const sqlExpiredThrough = `SELECT expired_through FROM taskfeed.log_state`

// After returns at most limit events after the cursor, oldest first: those of
// the filter's user and the broadcasts, or everybody's. It looks at the filter's
// UserID and All alone; who narrows by type or task does so with
// [taskfeed.Filter.Match]. A page may end early when its data is large: only an
// empty page means that there is no more. It returns CodeGone when events after
// the cursor have been dropped by retention; a cursor of 0 asks for what there is.
func (s *Store) After(ctx context.Context, f taskfeed.Filter, after taskfeed.Cursor, limit int) ([]taskfeed.Event, error) {
	ctx, cancel := s.reading(ctx)
	defer cancel()
	statement := sqlFeedAfter
	if f.All {
		statement = sqlLogAfter
	}
	var events []taskfeed.Event
	var expired taskfeed.Cursor
	batch := &pgx.Batch{}
	batch.Queue(statement, pgx.NamedArgs{"user_id": f.UserID, "after": after, "limit": limit}).Query(func(rows pgx.Rows) (err error) {
		events, err = collectEvents(rows, maxPageBytes)
		return err
	})
	// Read after the events, so that a drop in between is noticed.
	batch.Queue(sqlExpiredThrough).QueryRow(func(row pgx.Row) error {
		return row.Scan(&expired)
	})
	if err := s.pool.SendBatch(ctx, batch).Close(); err != nil {
		return nil, wrap(fmt.Sprintf("read events after %s", after), err)
	}
	if after > 0 && after < expired {
		return nil, &taskfeed.Error{Code: taskfeed.CodeGone,
			Message: fmt.Sprintf("events after %s are no longer kept: list the tasks again and go on from their cursor", after)}
	}
	return events, nil
}

// collectEvents reads rows of eventColumns until their data exceeds maxBytes.
func collectEvents(rows pgx.Rows, maxBytes int) ([]taskfeed.Event, error) {
	defer rows.Close()
	var events []taskfeed.Event
	size := 0
	for size < maxBytes && rows.Next() {
		e, err := scanEvent(rows)
		if err != nil {
			return nil, err
		}
		size += len(e.Data)
		events = append(events, e)
	}
	rows.Close()
	return events, rows.Err()
}

func scanEvent(row pgx.CollectableRow) (taskfeed.Event, error) {
	var e taskfeed.Event
	err := row.Scan(&e.ID, &e.UserID, &e.TaskID, &e.Type, &e.Version, (*[]byte)(&e.Data), &e.Timestamp)
	return e, err
}

const sqlHead = `SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM taskfeed.event_id`

// Head returns a cursor that no event in the log exceeds. Events up to it may
// still be uncommitted.
func (s *Store) Head(ctx context.Context) (taskfeed.Cursor, error) {
	return s.cursor(ctx, "read head of log", sqlHead)
}

const sqlLastID = `
SELECT id
FROM taskfeed.events
ORDER BY id DESC
LIMIT 1`

// LastID returns the id of the last committed event, and 0 when the log is
// empty. Every event up to it can be read.
func (s *Store) LastID(ctx context.Context) (taskfeed.Cursor, error) {
	return s.cursor(ctx, "read last event", sqlLastID)
}

func (s *Store) cursor(ctx context.Context, doing, statement string) (taskfeed.Cursor, error) {
	ctx, cancel := s.reading(ctx)
	defer cancel()
	var c taskfeed.Cursor
	err := s.pool.QueryRow(ctx, statement).Scan(&c)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return c, wrap(doing, err)
}
