package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// Forgotten counts the rows of a user that were erased.
type Forgotten struct{ Tasks, Events, Changes, Commands, Marks, Messages, Failures int64 }

// Total is the sum of the counts.
func (f Forgotten) Total() int64 {
	return f.Tasks + f.Events + f.Changes + f.Commands + f.Marks + f.Messages + f.Failures
}

const sqlErasures = `
SELECT CASE WHEN is_called THEN last_value ELSE 0 END
FROM taskfeed.erasures`

// Erasures returns a number that changes whenever events are erased.
func (s *Store) Erasures(ctx context.Context) (n int64, err error) {
	ctx, cancel := s.checks.Bound(ctx)
	defer cancel()
	err = s.checks.Do(ctx, func(db pg.Conn) error { return db.QueryRow(ctx, sqlErasures).Scan(&n) })
	return n, pg.Wrap("read erasures", err)
}

const sqlForget = `
SELECT tasks, events, changes, commands, marks, messages, failures
FROM taskfeed.forget(@user_id, @at_most)`

// Forget erases at most so many tasks and so many events of a user, and all other rows
// that name the user. Call it until it erases nothing. It makes no events.
func (s *Store) Forget(ctx context.Context, userID string, atMost int) (f Forgotten, err error) {
	if userID == "" {
		return f, pg.Refuse("user_id", "must not be empty")
	}
	if err := pg.CheckText("user_id", userID); err != nil {
		return f, err
	}
	ctx, cancel := s.queries.Bound(ctx)
	defer cancel()
	err = s.queries.Do(ctx, func(db pg.Conn) error {
		return db.QueryRow(ctx, sqlForget, pgx.NamedArgs{"user_id": userID, "at_most": atMost}).Scan(&f.Tasks, &f.Events, &f.Changes, &f.Commands, &f.Marks, &f.Messages, &f.Failures)
	})
	return f, pg.Wrap("forget a user", err)
}
