package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// A statement that takes long and a connection that is dead look the same from here. So
// the time limit is not for the work of a statement but for a sign of life: another
// connection asks every second whether the database works on it. With a plain limit, a
// backlog that cannot be sorted within the time would never be moved by any leader.
//
// These signs are weak: a backend that was stopped in the middle of its work looks as
// if it worked. So they extend the limit only a few times. After a statement that was
// given up, the next session of this server takes half as much at once and waits twice
// as long. So a frozen backend is given up soon, and an overloaded database finishes in
// the end, whatever makes it slow.

const (
	signEvery       = time.Second
	maxPatience     = 3 // times the limit, with signs of life
	longestPatience = 10 * time.Minute
	maxSetbacks     = 10
)

var (
	errSilent  = fmt.Errorf("no sign of life from the database: %w", context.DeadlineExceeded)
	errTooLong = fmt.Errorf("the database works on it for too long, or was stopped: %w", context.DeadlineExceeded)
)

// A backend that waits for a client, for a lock or for a standby does not work.
const sqlWorks = `
SELECT state = 'active' AND (wait_event_type IS NULL OR wait_event_type IN ('IO', 'LWLock', 'BufferPin'))
FROM pg_stat_activity
WHERE pid = @pid`

// Watch sets a function that is called about once a second while a statement of the
// session takes long and the database works on it. It is called from another goroutine.
func (s *Session) Watch(worked func()) { s.worked = worked }

// patiently calls work with a context that ends when there was no sign of life for the
// limit, or after maxPatience times the limit. The limit doubles with each statement
// that was given up. Work may be called again: see [pg.WithFreshPlans].
func (s *Session) patiently(ctx context.Context, limit time.Duration, work func(context.Context) error) error {
	limit = max(limit, min(limit<<s.store.setbacks.Load(), longestPatience/maxPatience))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan struct{})
	watch := time.AfterFunc(min(signEvery, limit), func() {
		defer close(ended)
		s.watchWork(ctx, limit, cancel)
	})
	err := pg.WithFreshPlans(ctx, s.conn, func() error { return work(ctx) })
	if !watch.Stop() {
		cancel(nil)
		<-ended
	}
	switch cause := context.Cause(ctx); {
	case err == nil:
		s.store.setbacks.Store(max(0, s.store.setbacks.Load()-1))
	case cause == errTooLong || cause == errSilent:
		s.store.setbacks.Store(min(maxSetbacks, s.store.setbacks.Load()+1))
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// watchWork calls giveUp when there was no sign of life for the limit, or when the work
// took too long. It returns then or when ctx is done.
func (s *Session) watchWork(ctx context.Context, limit time.Duration, giveUp context.CancelCauseFunc) {
	began := time.Now().Add(-signEvery)
	tick := time.NewTicker(signEvery)
	defer tick.Stop()
	for last := began; ; {
		if s.works(ctx) {
			last = time.Now()
			s.worked()
		}
		switch {
		case time.Since(last) >= limit:
			giveUp(errSilent)
			return
		case time.Since(began) >= maxPatience*limit:
			giveUp(errTooLong)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// works reports whether the database works on the session's statement.
func (s *Session) works(ctx context.Context) (working bool) {
	ctx, cancel := context.WithTimeout(ctx, signEvery)
	defer cancel()
	err := s.store.checks.Do(ctx, func(db pg.Conn) error {
		return db.QueryRow(ctx, sqlWorks, pgx.NamedArgs{"pid": int64(s.conn.PgConn().PID())}).Scan(&working)
	})
	return err == nil && working
}
