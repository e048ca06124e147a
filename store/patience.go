package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A statement that takes long and a connection that is dead look alike from here.
// So the time that a statement has is not for its work but for a sign of life:
// another connection asks now and then whether the database works at it. Else a
// backlog that cannot be put in order within the time would never be moved, by no
// leader.

const (
	signEvery   = time.Second
	maxPatience = 10 * time.Minute // even with signs of life
)

var errSilent = fmt.Errorf("no sign of life from the database: %w", context.DeadlineExceeded)

// A backend that waits for a client, for a lock or for a standby does no work.
const sqlWorks = `
SELECT state = 'active' AND (wait_event_type IS NULL OR wait_event_type IN ('IO', 'LWLock', 'BufferPin'))
FROM pg_stat_activity
WHERE pid = @pid`

// Watch has worked called about once a second while the session's statement takes
// long and the database works at it, from another goroutine.
func (s *Session) Watch(worked func()) { s.worked = worked }

// patiently does work whose context ends when there was no sign of life for the
// limit. Work may be called again: see [withFreshPlans].
func (s *Session) patiently(ctx context.Context, limit time.Duration, work func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan struct{})
	vigil := time.AfterFunc(min(signEvery, limit), func() {
		defer close(ended)
		s.keepVigil(ctx, limit, cancel)
	})
	err := withFreshPlans(ctx, s.conn, func() error { return work(ctx) })
	if !vigil.Stop() {
		cancel(nil)
		<-ended
	}
	if err != nil && context.Cause(ctx) == errSilent {
		return fmt.Errorf("%w: %w", errSilent, err)
	}
	return err
}

// keepVigil gives up when there was no sign of life for the limit, and returns
// then or when ctx is done.
func (s *Session) keepVigil(ctx context.Context, limit time.Duration, giveUp context.CancelCauseFunc) {
	began := time.Now().Add(-signEvery)
	tick := time.NewTicker(signEvery)
	defer tick.Stop()
	for last := began; ; {
		if s.works(ctx) && time.Since(began) < maxPatience {
			last = time.Now()
			s.worked()
		}
		if time.Since(last) >= limit {
			giveUp(errSilent)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// works reports whether the database works at the session's statement.
func (s *Session) works(ctx context.Context) (working bool) {
	ctx, cancel := context.WithTimeout(ctx, signEvery)
	defer cancel()
	err := s.store.checks.do(ctx, func(db asked) error {
		return db.QueryRow(ctx, sqlWorks, pgx.NamedArgs{"pid": int64(s.conn.PgConn().PID())}).Scan(&working)
	})
	return err == nil && working
}
