package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/taskfeed/taskfeed/internal/locks"
	"github.com/taskfeed/taskfeed/internal/pause"
)

// One session at a time migrates a database: the one that holds the advisory lock of
// migrations. Any session can take that lock, so a migration that waits looks who holds
// it. It waits for another migration; a session that is no migration is ended, or named
// in an error.

// sqlMigrating shows other migrations that this session is one, and ends it when its
// process is stopped for long.
const sqlMigrating = `
SET application_name = '` + locks.Migrating + `';
SET idle_session_timeout = '10min'`

const (
	turnPause = 250 * time.Millisecond // between two tries
	turnLook  = 2 * time.Second        // between two looks who holds the lock
	turnLimit = 30 * time.Minute       // for other migrations
	turnLooks = 3                      // before a session that is no migration and cannot be ended is an error
)

// awaitTurn waits for the lock of migrations.
func awaitTurn(ctx context.Context, db *sql.DB, tell func(string)) error {
	const sqlTurn = "SELECT pg_try_advisory_lock(" + locks.Migration + ")"
	began := time.Now()
	wait := turn{db: db, tell: tell}
	for {
		var ours bool
		if err := db.QueryRowContext(ctx, sqlTurn).Scan(&ours); err != nil || ours {
			return err
		}
		if err := wait.look(ctx); err != nil {
			return err
		}
		if time.Since(began) > turnLimit {
			return fmt.Errorf("another migration goes on for more than %v", turnLimit)
		}
		if !pause.For(ctx, turnPause) {
			return context.Cause(ctx)
		}
	}
}

// turn is a wait for the lock of migrations.
type turn struct {
	db     *sql.DB
	tell   func(string)
	looked time.Time
	watch  locks.Watch
	met    int // looks in a row that found a session that is no migration
}

// look reports who holds the lock, at most every turnLook, and ends sessions that are
// no migration. It returns an error that names a session it may not end.
func (w *turn) look(ctx context.Context) error {
	if time.Since(w.looked) < turnLook {
		return nil
	}
	w.looked = time.Now()
	all, err := w.holders(ctx)
	if err != nil {
		return err
	}
	intruders := w.watch.Note(all, w.looked)
	if len(intruders) == 0 {
		w.met = 0
		w.tell("waiting for another migration of this database")
		return nil
	}
	w.met++
	for _, f := range intruders {
		w.tell(f.String())
		if w.end(ctx, f.PID) {
			w.tell(fmt.Sprintf("ended the session %d", f.PID))
		} else if w.met >= turnLooks {
			return errors.New(f.String())
		}
	}
	return nil
}

func (w *turn) end(ctx context.Context, pid int) (ended bool) {
	if pid == 0 {
		return false
	}
	err := w.db.QueryRowContext(ctx, locks.End, pid).Scan(&ended)
	return err == nil && ended
}

// holders returns the sessions that hold or await the lock of migrations.
func (w *turn) holders(ctx context.Context) (found []locks.Holder, err error) {
	rows, err := w.db.QueryContext(ctx, locks.Query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var h locks.Holder
		if err := rows.Scan(h.Targets()...); err != nil {
			return nil, err
		}
		if h = h.Named(); h.Lock == "migration" {
			found = append(found, h)
		}
	}
	return found, rows.Err()
}
