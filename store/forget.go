package store

import (
	"context"

	"github.com/jackc/pgx/v5"
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
		return f, refuse("user_id", "must not be empty")
	}
	if err := checkText("user_id", userID); err != nil {
		return f, err
	}
	ctx, cancel := s.reading(ctx)
	defer cancel()
	err = s.rest.do(ctx, func(db asked) error {
		return db.QueryRow(ctx, sqlForget, pgx.NamedArgs{"user_id": userID, "at_most": atMost}).Scan(&f.Tasks, &f.Events, &f.Changes, &f.Commands)
	})
	return f, wrap("forget a user", err)
}
