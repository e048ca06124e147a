package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/store/internal/pg"
)

const (
	stalledPage = 1000      // tasks that one call of TellStalled looks at
	lookAgain   = time.Hour // after which it begins anew
)

// stalls is how far a leader has looked for tasks that have stalled. They come up in the
// order of their last change. A transaction that commits late adds some that were
// passed, so the leader begins anew from time to time.
type stalls struct {
	began time.Time // when it looked from the beginning
	at    time.Time // of the last task
	id    string
}

// What was told of a task with its present version is among its last events, unless the
// app has sent very many about it. A task that waits for its turn to be told is a change.
const sqlTellStalled = `
WITH late AS (
    SELECT id, coalesce(owners, ARRAY[user_id]) AS owners, kind, progress, version, updated_at
    FROM taskfeed.tasks
    WHERE status = 'running'
      AND updated_hour >= taskfeed.hour_of(@at)
      AND updated_hour <= taskfeed.hour_of(now() - @after::interval)
      AND updated_at <= now() - @after::interval
      AND (updated_at, id) > (@at, @id)
    ORDER BY updated_hour, updated_at, id
    LIMIT @page
), told AS (
    INSERT INTO taskfeed.changes (user_id, task_id, type, version, data)
    SELECT owner, id, 'task_stalled', version, jsonb_strip_nulls(jsonb_build_object(
        'kind', kind, 'progress', progress, 'since', to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')))
    FROM late
    CROSS JOIN unnest(owners) AS owner
    WHERE NOT EXISTS (
        SELECT
        FROM (
            SELECT type, version
            FROM taskfeed.events
            WHERE task_id = late.id
              AND user_id = owner
            ORDER BY id DESC
            LIMIT 100
        ) AS told
        WHERE told.type = 'task_stalled'
          AND told.version = late.version
    )
    ORDER BY updated_at, id
    RETURNING id
)
SELECT updated_at, id, (SELECT count(*) FROM told), (SELECT count(*) FROM late)
FROM late
ORDER BY updated_at DESC, id DESC
LIMIT 1`

// TellStalled makes an event for each owner of a task that runs and has not changed for
// so long, once until it changes. It looks at a page of tasks; more says that there are
// others. Only the leader may call it, between moves; the next move has the events.
func (s *Session) TellStalled(ctx context.Context, after time.Duration) (told int, more bool, err error) {
	if time.Since(s.stalls.began) > lookAgain {
		s.stalls = stalls{began: time.Now()}
	}
	err = s.patiently(ctx, s.timeout, func(ctx context.Context) error {
		seen, next := 0, s.stalls
		args := pgx.NamedArgs{"after": after, "at": next.at, "id": next.id, "page": stalledPage}
		err := s.conn.QueryRow(ctx, sqlTellStalled, args).Scan(&next.at, &next.id, &told, &seen)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err == nil {
			s.stalls, more = next, seen == stalledPage
		}
		return err
	})
	return told, more, pg.Wrap("tell of stalled tasks", err)
}
