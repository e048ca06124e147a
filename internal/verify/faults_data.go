package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/taskfeed/taskfeed/internal/verify/actor"
	"github.com/taskfeed/taskfeed/internal/verify/history"
)

var dataFaults = []fault{
	{name: "long-transaction", says: "a transaction that has written stays open for 4 s and then commits", kind: kindData, safe: true, run: longTransaction},
	{name: "prepared-transaction", says: "prepared transactions: one committed 2 s later, one rolled back", kind: kindData, run: preparedTransactions},
	{name: "events-lock", says: "LOCK TABLE taskfeed.events IN ACCESS EXCLUSIVE MODE for 10 s", kind: kindData, run: lockEvents},
	{name: "read-only", says: "default_transaction_read_only for the servers' sessions, for 3 s", kind: kindData, run: readOnly},
	{name: "vacuum-full", says: "VACUUM FULL of the changes, REINDEX of the log and ANALYZE, three times", kind: kindData, run: vacuumFull},
	{name: "retention", says: "retention drops a partition while clients replay and others are away", kind: kindData, paths: []string{"reset: expired"}, run: retention},
}

const alterDatabase = "ALTER DATABASE " + databaseName + " "

// longTransaction keeps a writer in flight. Nobody else waits for it, and what it
// wrote comes when it commits.
func longTransaction(ctx context.Context, r *round, f *history.Fault) error {
	err := r.hand.Hold(ctx, 4*time.Second)
	f.Fired = err == nil
	return err
}

func preparedTransactions(ctx context.Context, r *round, f *history.Fault) error {
	err := errors.Join(r.hand.Prepare(ctx, 2*time.Second, true), r.hand.Prepare(ctx, 100*time.Millisecond, false))
	f.Fired = err == nil
	return err
}

func lockEvents(ctx context.Context, r *round, f *history.Fault) error {
	conn, err := r.db.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	for _, sql := range []string{"BEGIN", "SET LOCAL lock_timeout = '5s'", "LOCK TABLE taskfeed.events IN ACCESS EXCLUSIVE MODE"} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("lock the log: %w", err)
		}
	}
	f.Fired = true
	pause(ctx, 10*time.Second)
	_, err = conn.Exec(ctx, "ROLLBACK")
	return err
}

// readOnly lets the servers read and not write. Writers keep their sessions: an
// operator who does this to a live database begins with the services.
func readOnly(ctx context.Context, r *round, f *history.Fault) error {
	err := errors.Join(r.db.exec(ctx, alterDatabase+"SET default_transaction_read_only = on"), r.renewSessions(ctx))
	f.Fired = err == nil
	pause(ctx, 3*time.Second)
	return errors.Join(err, r.db.exec(ctx, alterDatabase+"RESET default_transaction_read_only"), r.renewSessions(ctx))
}

func vacuumFull(ctx context.Context, r *round, f *history.Fault) error {
	done := 0
	var last error
	for range 3 {
		for _, sql := range []string{"VACUUM FULL taskfeed.changes", "REINDEX TABLE taskfeed.events", "ANALYZE taskfeed.changes, taskfeed.events, taskfeed.tasks"} {
			if err := r.db.exec(ctx, sql); err != nil {
				last = err // a deadlock with the leader is one of the things that happen
			} else {
				done++
			}
		}
		pause(ctx, 300*time.Millisecond)
	}
	f.Fired, f.Detail = done > 3, fmt.Sprintf("%d of 9 done", done)
	return last
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
func retention(ctx context.Context, r *round, f *history.Fault) error {
	if err := tell(r.clients, actor.Command{Do: actor.DoPark, Names: r.names["away"], For: 4 * time.Second}); err != nil {
		return err
	}
	pause(ctx, time.Second) // events that those who are away will have missed
	k, err := one[int64](ctx, r.db, sqlPresentPartition)
	if err != nil {
		return err
	}
	next := (k + 1) * partitionWidth
	if _, err := one[int64](ctx, r.db, sqlSkipPartition, next-1); err != nil {
		return fmt.Errorf("move on to the next partition: %w", err)
	}
	err = await(ctx, 10*time.Second, func() error {
		at, err := one[int64](ctx, r.db, sqlLastInPartition, int64(1)<<62)
		if err == nil && at < next {
			err = errors.New("no event has come to the next partition")
		}
		return err
	})
	if err != nil {
		return err
	}
	// Who replays reads on from the partition that goes.
	if err := tell(r.clients, actor.Command{Do: actor.DoStorm, Names: r.names["fresh"]}); err != nil {
		return err
	}
	pause(ctx, 20*time.Millisecond)
	return r.dropPartition(ctx, f, k, next)
}

// dropPartition drops partition k as the leader would.
func (r *round) dropPartition(ctx context.Context, f *history.Fault, k, next int64) error {
	return await(ctx, 20*time.Second, func() error {
		last, err := one[int64](ctx, r.db, sqlLastInPartition, next)
		if err != nil {
			return err
		}
		// Written down before it is done: a client may be told before we are.
		r.faults.Append(history.Fault{Name: f.Name, Begin: history.Now(), End: history.Now(), Expired: last, Detail: "about to drop"})
		if err := r.db.exec(ctx, fmt.Sprintf(sqlDropPartition, k, last)); err != nil {
			return err
		}
		f.Fired, f.Detail = true, fmt.Sprintf("dropped events up to %d", last)
		return nil
	})
}
