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

// longTransaction keeps a writer in flight. Nobody else waits for it, and what it
// wrote comes when it commits.
func longTransaction(_ context.Context, r *round, _ *history.Fault) (deed, error) {
	return deed{felt: func(ctx context.Context) (string, error) {
		before := sum(r.writers, func(s *actor.Status) int64 { return s.Writes })
		if err := r.hand.Hold(ctx, 4*time.Second); err != nil {
			return "", err
		}
		others := sum(r.writers, func(s *actor.Status) int64 { return s.Writes }) - before
		if others == 0 {
			return "", errors.New("nobody else wrote meanwhile")
		}
		return fmt.Sprintf("%d writes of others meanwhile", others), nil
	}}, nil
}

// preparedTransactions begins no other attempt with a transaction still prepared:
// Prepare ends what it has prepared.
func preparedTransactions(_ context.Context, r *round, _ *history.Fault) (deed, error) {
	return deed{felt: func(ctx context.Context) (string, error) {
		err := r.hand.Prepare(ctx, 2*time.Second, true)
		if err == nil {
			err = r.hand.Prepare(ctx, 100*time.Millisecond, false)
		}
		return "one committed and one rolled back", err
	}}, nil
}

const sqlWaitForEvents = `
SELECT count(*)
FROM pg_locks
WHERE relation = 'taskfeed.events'::regclass
  AND NOT granted`

func lockEvents(ctx context.Context, r *round, _ *history.Fault) (deed, error) {
	conn, err := r.db.connect(ctx)
	if err != nil {
		return deed{}, err
	}
	d := deed{lasts: 10 * time.Second, undo: func(context.Context) error { query.Close(conn); return nil }}
	for _, sql := range []string{"BEGIN", "SET LOCAL lock_timeout = '5s'", "LOCK TABLE taskfeed.events IN ACCESS EXCLUSIVE MODE"} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return d, fmt.Errorf("lock the log: %w", err)
		}
	}
	d.felt = func(ctx context.Context) (string, error) {
		n, err := one[int](ctx, r.db, sqlWaitForEvents)
		if err == nil && n == 0 {
			err = errors.New("nobody waited for the lock")
		}
		return fmt.Sprintf("%d sessions waited", n), err
	}
	return d, nil
}

// readOnly lets the servers read and not write. Writers keep their sessions: an
// operator who does this to a live database begins with the services.
func readOnly(ctx context.Context, r *round, _ *history.Fault) (deed, error) {
	apply := func(ctx context.Context, setting string) error {
		if err := r.db.exec(ctx, alterDatabase+setting); err != nil {
			return err
		}
		_, err := r.renewSessions(ctx)
		return err
	}
	d := deed{felt: r.db.logs("in a read-only transaction"), lasts: 3 * time.Second, undo: func(ctx context.Context) error {
		return await(ctx, patience, func() error { return apply(ctx, "RESET default_transaction_read_only") })
	}}
	return d, apply(ctx, "SET default_transaction_read_only = on")
}

// vacuumFull is content with less than all: a deadlock with the leader is one of
// the things that happen.
func vacuumFull(_ context.Context, r *round, _ *history.Fault) (deed, error) {
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
	return deed{felt: times(3, 300*time.Millisecond, "commands done", rewrite)}, nil
}

// The steps of retention, as the leader takes them once a minute on a log of many
// millions of events. Here the rest of a partition's ids is skipped first.
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

// retention has some clients stay away, moves the log on to its next partition and
// drops the one before.
func retention(ctx context.Context, r *round, f *history.Fault) (d deed, err error) {
	d.felt = r.taken(ctx, "reset: expired")
	if err := tell(r.clients, actor.Command{Do: actor.DoPark, Names: r.names["away"], For: 4 * time.Second}); err != nil {
		return d, err
	}
	pause.For(ctx, time.Second) // events that those who are away will have missed
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
			err = errors.New("no event has come to the next partition")
		}
		return err
	})
	if err != nil {
		return d, err
	}
	// Who replays reads on from the partition that goes.
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
		// Written down before it is done: a client may be told before we are.
		r.faults.Append(history.Fault{Name: f.Name, Begin: history.Now(), End: history.Now(), Expired: last, Detail: "about to drop"})
		err = r.db.exec(ctx, fmt.Sprintf(sqlDropPartition, k, last))
		if err == nil {
			f.Detail = fmt.Sprintf("dropped events up to %d", last)
		}
		return err
	})
}
