package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/taskfeed/taskfeed/internal/dial"
	"github.com/taskfeed/taskfeed/internal/pause"
)

// lockTimeout is how long a migration waits for a table that the app has locked. The
// app's other writers queue behind it for as long.
const lockTimeout = time.Second

// A migration tries lockTries times to lock a table, lockPause apart.
const (
	lockTries = 10
	lockPause = time.Second
)

// alone calls work with the one session that may migrate the database, and again when
// it did not get a lock in time. It reports for whom it waits by calling tell.
func alone(ctx context.Context, databaseURL string, tell func(string), work func(*sql.DB) error) error {
	return withDB(ctx, databaseURL, sqlMigrating, func(db *sql.DB) error {
		if err := awaitTurn(ctx, db, tell); err != nil {
			return fmt.Errorf("wait for other migrations: %w", err)
		}
		return retryLocked(ctx, lockPause, func() error { return work(db) })
	})
}

// retryLocked calls work until it gets its locks, at most lockTries times. It returns
// the last error.
func retryLocked(ctx context.Context, between time.Duration, work func() error) error {
	for try := 1; ; try++ {
		err := work()
		if !isLocked(err) {
			return err
		}
		err = fmt.Errorf("other sessions hold locks that are needed; end long transactions and try again: %w", err)
		if try == lockTries {
			return err
		}
		if !pause.For(ctx, between) {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// isLocked reports whether a statement gave up waiting for a lock.
func isLocked(err error) bool {
	const lockNotAvailable = "55P03"
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == lockNotAvailable
}

// withDB calls work with a single session, on which the statements in begin have run.
func withDB(ctx context.Context, databaseURL, begin string, work func(*sql.DB) error) error {
	db, err := dial.OpenDB(ctx, dial.Config{URL: databaseURL, Name: "taskfeed migrations", LockTimeout: lockTimeout}, begin)
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer db.Close()
	return work(db)
}
