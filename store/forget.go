package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// Forgotten is how much was erased of a user.
type Forgotten struct{ Tasks, Events, Changes, Commands int64 }

// Total is how many rows that were.
func (f Forgotten) Total() int64 { return f.Tasks + f.Events + f.Changes + f.Commands }

const sqlForget = `
SELECT tasks, events, changes, commands
FROM taskfeed.forget(@user_id, @at_most)`

// Forget erases at most so many tasks and so many events of a user, and what else
// names the user; call it until it erases nothing. The log has no event of it.
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
		return db.QueryRow(ctx, sqlForget, pgx.NamedArgs{"user_id": userID, "at_most": atMost}).Scan(&f.Tasks, &f.Events, &f.Changes, &f.Commands)
	})
	return f, pg.Wrap("forget a user", err)
}
