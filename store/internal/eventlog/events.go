// Package eventlog is what store and store/history both know of the table of events:
// its columns, how they are scanned, and how a page of it is collected.
package eventlog

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// Columns are those of the table, Scanned the same as [Targets] takes them.
const (
	Columns = `id, user_id, task_id, type, version, data, created_at`
	Scanned = `id, coalesce(user_id, '') AS user_id, coalesce(task_id, '') AS task_id, type, coalesce(version, 0) AS version, data, created_at`
)

// DataSize is about how long data is as text. It does not fetch or decompress what
// Postgres keeps out of line or compressed, and estimates that instead.
const DataSize = `least(pg_column_size(data) * CASE WHEN pg_column_compression(data) IS NULL THEN 1 ELSE 16 END, 262144)`

// Targets takes Scanned in order, as types that pgx knows: it looks up any other type
// again for each row.
func Targets(e *taskfeed.Event) []any {
	return []any{(*int64)(&e.ID), &e.UserID, &e.TaskID, (*string)(&e.Type), &e.Version, (*[]byte)(&e.Data), &e.Timestamp}
}

// Bytes is the length of the part of an event that varies.
func Bytes(e *taskfeed.Event) int { return len(e.Data) }

const sqlLastID = `
SELECT greatest(expired_through, (
    SELECT id
    FROM taskfeed.events
    ORDER BY id DESC
    LIMIT 1))
FROM taskfeed.log_state`

// LastID returns the id of the last committed event, even if retention has dropped it,
// and 0 before the first event.
func LastID(ctx context.Context, db pg.Querier) (id taskfeed.Cursor, err error) {
	err = db.QueryRow(ctx, sqlLastID).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		err = errors.New("taskfeed.log_state has no row: the schema has been tampered with")
	}
	return id, err
}
