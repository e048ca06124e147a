package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/internal/locks"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// CheckLocks looks who holds the advisory locks of servers. It ends the sessions of
// others that two looks in a row have found, where it may. It reads all locks of the
// cluster: call it from time to time.
func (s *Session) CheckLocks(ctx context.Context) (seen locks.Seen, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	all, err := holders(ctx, s.conn)
	if err != nil {
		return locks.Seen{}, pg.Wrap("look who has the locks", err)
	}
	seen = locks.Seen{Led: locks.Led(all) || s.leads, Engine: locks.ReachEngine(all), Intruders: s.intruders.Note(all, time.Now())}
	for _, f := range seen.Intruders {
		s.end(ctx, f)
	}
	return seen, nil
}

// TellEngine tells other servers whether this one reaches the engine, until the session
// ends. It costs nothing unless that has changed.
func (s *Session) TellEngine(ctx context.Context, reached bool) (err error) {
	switch {
	case reached && !s.engine:
		// Only an intruder can keep it from sharing the lock: then it tries again.
		s.engine, err = s.ask(ctx, "tell that the engine is reached", "SELECT pg_try_advisory_lock_shared("+locks.Engine+")")
	case !reached && s.engine:
		s.engine = false
		err = s.do(ctx, "tell that the engine is not reached", "SELECT pg_advisory_unlock_shared("+locks.Engine+")")
	}
	return err
}

// end ends an intruder's session. If it may not, that is no error: an operator must do
// it.
func (s *Session) end(ctx context.Context, f locks.Found) {
	if f.PID == 0 {
		return
	}
	var ended bool
	if err := s.conn.QueryRow(ctx, locks.End, f.PID).Scan(&ended); err == nil && ended {
		s.log.Warn("ended a session that kept a lock of servers", "lock", f.Lock, "pid", f.PID, "role", f.Role, "application_name", f.Application, "since", f.Since)
	}
}

func holders(ctx context.Context, db interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}) ([]locks.Holder, error) {
	rows, _ := db.Query(ctx, locks.Query) // the rows report the error too
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (h locks.Holder, err error) {
		err = row.Scan(h.Targets()...)
		return h.Named(), err
	})
}

// Intruders looks twice, a second apart, which sessions have or await a lock of servers
// without being one. It ends none.
func (s *Store) Intruders(ctx context.Context) ([]locks.Found, error) {
	ctx, cancel := s.checks.Bound(ctx)
	defer cancel()
	var watch locks.Watch
	var found []locks.Found
	for look := range 2 {
		if look > 0 {
			pause.For(ctx, time.Second)
		}
		err := s.checks.Do(ctx, func(db pg.Conn) error {
			all, err := holders(ctx, db)
			found = watch.Note(all, time.Now())
			return err
		})
		if err != nil {
			return nil, pg.Wrap("look who has the locks", err)
		}
	}
	return found, nil
}
