package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/lab/verify/actor"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

var sourceFaults = []fault{
	{name: "source-broken", says: "a column that the mapping of an attached table reads is renamed under load, then the table is attached with another mapping", kind: kindSource, paths: []string{"reset: source_broken"}, begin: breakMapping},
	{name: "source-detached", says: "an attached table is detached under load, and attached again", kind: kindSource, begin: detach},
	{name: "source-swapped", says: "an attached table is renamed and made anew under load, and attached again", kind: kindSource, begin: swapTable},
}

const (
	unseenWrites = 25               // of jobs, while the attachment does not work
	resetWithin  = 20 * time.Second // after the mapping broke, or the last reset is a minute ago
	resetNotDue  = 5 * time.Second  // a reset that is due later is not waited for
)

// jobsWritten is the effect that jobs were written since this call.
func (r *round) jobsWritten() effect {
	written := func() int64 { return sum(r.jobWriters, func(s *actor.Status) int64 { return s.Writes }) }
	before := written()
	return func(context.Context) (string, error) {
		n := written() - before
		if n < unseenWrites {
			return "", fmt.Errorf("%d jobs were written meanwhile", n)
		}
		return fmt.Sprintf("%d jobs were written meanwhile", n), nil
	}
}

const (
	sqlHead     = `SELECT coalesce(max(id), 0) FROM taskfeed.events`
	sqlResetDue = `SELECT coalesce(max(extract(epoch FROM reset_at + interval '1 minute' - clock_timestamp())), 0)::float8 FROM taskfeed.source_states WHERE name = 'jobs'`
	sqlTold     = `SELECT count(DISTINCT user_id) FROM taskfeed.events WHERE type = 'feed_reset' AND id > $1`
)

// breakMapping renames a column. Alone, it waits until all users with open tasks are
// told that changes are missing; with other faults that may take longer.
func breakMapping(ctx context.Context, r *round, f *history.Fault) (injection, error) {
	d := injection{lasts: 2 * time.Second, undo: r.attachAgain}
	column, other, err := r.totalColumn(ctx)
	if err != nil {
		return d, err
	}
	head, err := one[int64](ctx, r.db, sqlHead)
	if err != nil {
		return d, err
	}
	due, err := one[float64](ctx, r.db, sqlResetDue)
	if err != nil {
		return d, err
	}
	written := r.jobsWritten()
	err = r.change(ctx, markBroken, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, fmt.Sprintf(`ALTER TABLE %s RENAME COLUMN %s TO %s`, jobsTable, column, other))
		return err
	})
	wait := time.Duration(max(due, 0) * float64(time.Second))
	if d.effect = written; f.Phase == "alone" && wait < resetNotDue {
		d.effect = all(written, r.usersTold(f, head, time.Now().Add(wait+resetWithin)))
		d.patience = r.patience + wait + resetWithin
	}
	return d, err
}

// usersTold is the effect that all users were told of missing changes. If they are not
// in time, a promise is broken.
func (r *round) usersTold(f *history.Fault, head int64, until time.Time) effect {
	return func(ctx context.Context) (string, error) {
		told, err := one[int](ctx, r.db, sqlTold, head)
		switch {
		case err != nil:
			return "", err
		case told == activeUsers:
			return "all users were told", nil
		case time.Now().Before(until):
			return "", fmt.Errorf("%d of %d users were told", told, activeUsers)
		}
		f.Breaks, f.Wrong = "P2", fmt.Sprintf("changes of an attached table could not be read, and %d of %d users were told", told, activeUsers)
		return f.Wrong, nil
	}
}

const sqlLeftBehind = `
SELECT (SELECT count(*) FROM pg_trigger WHERE tgrelid = '` + jobsTable + `'::regclass AND NOT tgisinternal)
     + (SELECT count(*) FROM pg_proc WHERE pronamespace = 'taskfeed'::regnamespace AND proname LIKE 'attached\_%')`

// detach detaches the table. Every other time its tasks are deleted.
func detach(ctx context.Context, r *round, _ *history.Fault) (injection, error) {
	mark, tasks := markUnwatched, "keep"
	if r.detached.Add(1)%2 == int64(r.seed%2) {
		mark, tasks = markDeleted, "delete"
	}
	written := r.jobsWritten()
	err := r.change(ctx, mark, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `SELECT taskfeed.detach('jobs', $1)`, tasks)
		return err
	})
	clean := func(ctx context.Context) (string, error) {
		n, err := one[int](ctx, r.db, sqlLeftBehind)
		if err == nil && n > 0 {
			err = fmt.Errorf("%d triggers and functions were left behind", n)
		}
		return "its tasks: " + tasks, err
	}
	return injection{effect: all(written, clean), lasts: time.Second, undo: r.restoreAttachment}, err
}

const sqlSwap = `
ALTER TABLE app.jobs RENAME TO jobs_old;
ALTER INDEX app.jobs_pkey RENAME TO jobs_old_pkey;
CREATE TABLE app.jobs (LIKE app.jobs_old INCLUDING ALL);
INSERT INTO app.jobs SELECT * FROM app.jobs_old;
DROP TABLE app.jobs_old`

const sqlProblem = `SELECT coalesce(max(problem), '') FROM taskfeed.source_problems() WHERE name = 'jobs'`

// swapTable makes the table anew with the same rows, as some migrations do. The new one
// has no triggers.
func swapTable(ctx context.Context, r *round, _ *history.Fault) (injection, error) {
	written := r.jobsWritten()
	err := r.change(ctx, markUnwatched, func(tx pgx.Tx) error {
		_, err := tx.Conn().PgConn().Exec(ctx, sqlSwap).ReadAll()
		return err
	})
	noticed := func(ctx context.Context) (string, error) {
		problem, err := one[string](ctx, r.db, sqlProblem)
		if err == nil && problem == "" {
			err = errors.New("doctor does not say that it is another table")
		}
		return problem, err
	}
	return injection{effect: all(written, noticed), lasts: time.Second, undo: r.restoreAttachment}, err
}

// restoreAttachment attaches the table again, after changes that nobody captured.
func (r *round) restoreAttachment(ctx context.Context) error {
	if err := r.attachAgain(ctx); err != nil {
		return err
	}
	return r.compare(ctx)
}
