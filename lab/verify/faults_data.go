package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/query"
	"github.com/taskfeed/taskfeed/lab/verify/actor"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

var dataFaults = []fault{
	{name: "long-transaction", says: "a transaction that has written stays open for 4 s and then commits", kind: kindData, safe: true, begin: longTransaction},
	{name: "prepared-transaction", says: "prepared transactions: one committed 2 s later, one rolled back", kind: kindData, begin: preparedTransactions},
	{name: "events-lock", says: "LOCK TABLE taskfeed.events IN ACCESS EXCLUSIVE MODE for 10 s", kind: kindData, begin: lockEvents},
	{name: "read-only", says: "default_transaction_read_only for the servers' sessions, for 3 s", kind: kindData, begin: readOnly},
	{name: "vacuum-full", says: "VACUUM FULL of the changes, REINDEX of the log and ANALYZE, three times", kind: kindData, begin: vacuumFull},
	{name: "retention", says: "retention drops a partition while clients replay and others are away", kind: kindData, paths: []string{"reset: expired"}, begin: retention},
}

const alterDatabase = "ALTER DATABASE " + databaseName + " "

// longTransaction keeps a writer's transaction open. Other writers must not wait for
// it, and its events come when it commits.
func longTransaction(_ context.Context, r *round, _ *history.Fault) (injection, error) {
	return injection{effect: func(ctx context.Context) (string, error) {
		before := sum(r.writers, func(s *actor.Status) int64 { return s.Writes })
		if err := r.writer.Hold(ctx, 4*time.Second); err != nil {
			return "", err
		}
		others := sum(r.writers, func(s *actor.Status) int64 { return s.Writes }) - before
		if others == 0 {
			return "", errors.New("no other writer wrote meanwhile")
		}
		return fmt.Sprintf("%d writes of other writers meanwhile", others), nil
	}}, nil
}

// preparedTransactions leaves no prepared transaction for the next attempt: Prepare
// ends the one that it has prepared.
func preparedTransactions(_ context.Context, r *round, _ *history.Fault) (injection, error) {
	return injection{effect: func(ctx context.Context) (string, error) {
		err := r.writer.Prepare(ctx, 2*time.Second, true)
		if err == nil {
			err = r.writer.Prepare(ctx, 100*time.Millisecond, false)
		}
		return "one committed and one rolled back", err
	}}, nil
}

const sqlWaitForEvents = `
SELECT count(*)
FROM pg_locks
WHERE relation = 'taskfeed.events'::regclass
  AND NOT granted`

// lockEvents makes changes wait, so that one batch holds those of many transactions. In
// this batch a task is changed by a transaction with a lower id after one with a higher.
func lockEvents(ctx context.Context, r *round, _ *history.Fault) (injection, error) {
	conn, err := r.db.connect(ctx)
	if err != nil {
		return injection{}, err
	}
	d := injection{lasts: 10 * time.Second, undo: func(context.Context) error { query.Close(conn); return nil }}
	for _, sql := range []string{"BEGIN", "SET LOCAL lock_timeout = '5s'", "LOCK TABLE taskfeed.events IN ACCESS EXCLUSIVE MODE"} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return d, fmt.Errorf("lock the log: %w", err)
		}
	}
	if err := r.writer.ChangeLast(ctx); err != nil {
		return d, err
	}
	d.effect = func(ctx context.Context) (string, error) {
		n, err := one[int](ctx, r.db, sqlWaitForEvents)
		if err == nil && n == 0 {
			err = errors.New("no session waited for the lock")
		}
		return fmt.Sprintf("%d sessions waited", n), err
	}
	return d, nil
}

// readOnly makes the servers' sessions read-only. Writers keep their sessions: an
// operator who makes a live database read-only starts with the services.
func readOnly(ctx context.Context, r *round, _ *history.Fault) (injection, error) {
	apply := func(ctx context.Context, setting string) error {
		if err := r.db.exec(ctx, alterDatabase+setting); err != nil {
			return err
		}
		_, err := r.renewSessions(ctx)
		return err
	}
	d := injection{effect: r.db.logs("in a read-only transaction"), lasts: 3 * time.Second, undo: func(ctx context.Context) error {
		return await(ctx, patience, func() error { return apply(ctx, "RESET default_transaction_read_only") })
	}}
	return d, apply(ctx, "SET default_transaction_read_only = on")
}

// vacuumFull succeeds when two of the three commands do: one may end in a deadlock
// with the leader.
func vacuumFull(_ context.Context, r *round, _ *history.Fault) (injection, error) {
	rewrite := func(ctx context.Context) (done int, err error) {
		for _, sql := range []string{"VACUUM FULL taskfeed.changes", "REINDEX TABLE taskfeed.events", "ANALYZE taskfeed.changes, taskfeed.events, taskfeed.tasks"} {
			if failure := r.db.exec(ctx, sql); failure != nil {
				err = failure
			} else {
				done++
			}
		}
		if done > 1 {
			err = nil
		}
		return done, err
	}
	return injection{effect: times(3, 300*time.Millisecond, "commands done", rewrite)}, nil
}

// The steps of retention, as the leader does them once a minute on a log of many
// millions of events. The fault first skips the remaining ids of a partition.
const (
	partitionWidth = 10_000_000

	sqlPresentPartition = `SELECT last_value / 10000000 FROM taskfeed.event_id`

	sqlSkipPartition = `
SELECT setval('taskfeed.event_id', $1)
FROM taskfeed.event_id
WHERE last_value < $1`

	sqlLastInPartition = `
SELECT coalesce(max(id), 0)
FROM taskfeed.events
WHERE id < $1`

	sqlDropPartition = `
BEGIN;
SET LOCAL lock_timeout = '3s';
DROP TABLE taskfeed.events_%d;
UPDATE taskfeed.log_state SET expired_through = greatest(expired_through, %d);
COMMIT`
)

// retention disconnects some clients, advances the log to its next partition and
// drops the previous one.
func retention(ctx context.Context, r *round, f *history.Fault) (d injection, err error) {
	d.effect = r.taken(ctx, "reset: expired")
	if err := tell(r.clients, actor.Command{Do: actor.DoPark, Names: r.names["away"], For: 4 * time.Second}); err != nil {
		return d, err
	}
	pause.For(ctx, time.Second) // the clients that are away miss these events
	k, err := one[int64](ctx, r.db, sqlPresentPartition)
	if err != nil {
		return d, err
	}
	next := (k + 1) * partitionWidth
	if _, err := one[int64](ctx, r.db, sqlSkipPartition, next-1); err != nil {
		return d, fmt.Errorf("move on to the next partition: %w", err)
	}
	err = await(ctx, patience, func() error {
		at, err := one[int64](ctx, r.db, sqlLastInPartition, int64(1)<<62)
		if err == nil && at < next {
			err = errors.New("no event is in the next partition")
		}
		return err
	})
	if err != nil {
		return d, err
	}
	// These clients replay from the partition that is about to be dropped.
	if err := tell(r.clients, actor.Command{Do: actor.DoStorm, Names: r.names["fresh"]}); err != nil {
		return d, err
	}
	pause.For(ctx, 20*time.Millisecond)
	return d, r.dropPartition(ctx, f, k, next)
}

// dropPartition drops partition k as the leader would.
func (r *round) dropPartition(ctx context.Context, f *history.Fault, k, next int64) error {
	return await(ctx, patience, func() error {
		last, err := one[int64](ctx, r.db, sqlLastInPartition, next)
		if err != nil {
			return err
		}
		// Recorded before it happens: a client may learn of it before this process does.
		r.faults.Append(history.Fault{Name: f.Name, Begin: history.Now(), End: history.Now(), Expired: last, Detail: "about to drop"})
		err = r.db.exec(ctx, fmt.Sprintf(sqlDropPartition, k, last))
		if err == nil {
			f.Detail = fmt.Sprintf("dropped events up to %d", last)
		}
		return err
	})
}
