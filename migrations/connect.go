package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// sqlSettings makes a session independent of what a role or a database is
// configured to. A table that the app holds is given up after a second, for the
// app's other writers queue behind us.
const sqlSettings = `
SET search_path = pg_catalog, pg_temp;
SET statement_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET default_transaction_isolation = 'read committed';
SET client_min_messages = warning;
SET lock_timeout = '1s'`

// sqlAlone waits for the lock that serialises migrations of one database, which
// the session keeps to its end: 1952543595 is taskfeed's class of advisory locks.
const sqlAlone = `
SET lock_timeout = 0;
SET statement_timeout = 0;
SELECT pg_advisory_lock(1952543595, 4);` + sqlSettings

// A table that the app holds is asked for lockTries times, lockPause apart.
const (
	lockTries = 10
	lockPause = time.Second
)

// alone calls work with the one session that may migrate the database, and
// again when a lock of the app was in its way.
func alone(ctx context.Context, databaseURL string, work func(*sql.DB) error) error {
	return withDB(databaseURL, sqlAlone, func(db *sql.DB) error {
		if err := db.PingContext(ctx); err != nil {
			return fmt.Errorf("connect and wait for other migrations: %w", err)
		}
		return retryLocked(ctx, lockPause, func() error { return work(db) })
	})
}

// retryLocked calls work until it meets no lock of others, lockTries times at
// most. It returns the last error.
func retryLocked(ctx context.Context, pause time.Duration, work func() error) error {
	const lockNotAvailable = "55P03"
	for try := 1; ; try++ {
		err := work()
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != lockNotAvailable {
			return err
		}
		err = fmt.Errorf("other sessions hold locks that are needed; end long transactions and try again: %w", err)
		if try == lockTries {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// withDB calls work with a single session, which has run the SQL begin.
func withDB(databaseURL, begin string, work func(*sql.DB) error) error {
	cfg, err := pgx.ParseConfig(databaseURL)
	if err != nil { // whose text would show the password
		return errors.New("the database URL cannot be parsed: it looks like postgres://user:password@host:5432/database")
	}
	db := stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, begin)
		return err
	}))
	defer db.Close()
	db.SetMaxOpenConns(1)
	return work(db)
}
