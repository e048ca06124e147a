package verify

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/taskfeed/taskfeed/internal/verify/actor"
	"github.com/taskfeed/taskfeed/internal/verify/history"
)

var bellFaults = []fault{
	{name: "doorbell", says: "bursts and silences in turn: a change while the leader falls asleep wakes it", kind: kindCluster, safe: false, run: tryDoorbell},
	{name: "notify-off", says: "taskfeed.notify = 'off' for the whole database, for 4 s", kind: kindBell, run: notifyOff},
	{name: "notify-flood", says: "thousands of forged notifications a second with junk payloads, for 3 s", kind: kindBell, run: notifyFlood},
}

var dataFaults = []fault{
	{name: "long-transaction", says: "a transaction that has written stays open for 6 s and then commits", kind: kindData, safe: true, run: longTransaction},
	{name: "prepared-transaction", says: "prepared transactions: one committed 3 s later, one rolled back", kind: kindData, run: preparedTransactions},
	{name: "events-lock", says: "LOCK TABLE taskfeed.events IN ACCESS EXCLUSIVE MODE for 10 s", kind: kindData, run: lockEvents},
	{name: "read-only", says: "default_transaction_read_only for the servers' sessions, for 3 s", kind: kindData, run: readOnly},
	{name: "vacuum-full", says: "VACUUM FULL of the changes, REINDEX of the log and ANALYZE, three times", kind: kindData, run: vacuumFull},
	{name: "retention", says: "retention drops a partition while clients replay and others are away", kind: kindData, paths: []string{"reset: expired"}, run: retention},
}

// How the doorbell is tried: bursts that keep the leader awake, each followed by
// one more change while it falls asleep, and then nothing until that one has been
// moved. The leader looks by itself once a second; a change that waits for that
// was not rung for. A machine may be slow now and then, but not every other time.
const (
	doorbellCycles  = 24
	doorbellBurst   = 20
	doorbellSpread  = 80 * time.Millisecond // within which the one more change comes
	doorbellPatient = 600 * time.Millisecond
	doorbellMissed  = 4 // so many waits are no accident
)

const sqlChangesLeft = `SELECT count(*) FROM taskfeed.changes`

func tryDoorbell(ctx context.Context, r *round, f *history.Fault) (err error) {
	if err := tell(r.writers, actor.Command{Do: actor.DoPause}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tell(r.writers, actor.Command{Do: actor.DoPause, On: true})) }()
	pause(ctx, 300*time.Millisecond)
	conn, err := r.db.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	waited := 0
	for range doorbellCycles {
		if err := r.hand.Flurry(ctx, doorbellBurst); err != nil {
			return err
		}
		pause(ctx, time.Duration(r.rand.Int64N(int64(doorbellSpread))))
		if err := r.hand.Flurry(ctx, 1); err != nil {
			return err
		}
		since := time.Now()
		err := await(ctx, 5*time.Second, func() error {
			var left int
			err := conn.QueryRow(ctx, sqlChangesLeft).Scan(&left)
			if err == nil && left > 0 {
				err = fmt.Errorf("%d changes were not moved", left)
			}
			return err
		})
		if err != nil {
			return err
		}
		if time.Since(since) > doorbellPatient {
			waited++
		}
	}
	f.Fired, f.Detail = true, fmt.Sprintf("%d of %d changes waited", waited, doorbellCycles)
	if waited >= doorbellMissed {
		f.Breaks, f.Wrong = "P11", fmt.Sprintf("%d of %d single changes waited for more than %v: nobody rang for them", waited, doorbellCycles, doorbellPatient)
	}
	return nil
}

const alterDatabase = "ALTER DATABASE " + databaseName + " "

// notifyOff switches the doorbell off for writers and servers, each of which has
// to connect again to notice.
func notifyOff(ctx context.Context, r *round, f *history.Fault) error {
	apply := func(setting string) error {
		return errors.Join(r.db.exec(ctx, alterDatabase+setting), tell(r.writers, actor.Command{Do: actor.DoRenew}), r.renewSessions(ctx))
	}
	err := apply("SET taskfeed.notify = 'off'")
	f.Fired = err == nil
	pause(ctx, 4*time.Second)
	return errors.Join(err, apply("RESET taskfeed.notify"))
}

// renewSessions has all servers connect again.
func (r *round) renewSessions(ctx context.Context) error {
	_, err := one[int](ctx, r.db, fmt.Sprintf(sqlSignalAll, "pg_terminate_backend"))
	return err
}

const (
	sqlForge    = `SELECT pg_notify('taskfeed', $1), pg_notify('taskfeed_log', $1)`
	forgers     = 2
	junkPayload = 2000
)

func notifyFlood(ctx context.Context, r *round, f *history.Fault) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var all sync.WaitGroup
	counts := make([]int, forgers)
	errs := make([]error, forgers)
	for i := range forgers {
		all.Go(func() { counts[i], errs[i] = r.forge(ctx) })
	}
	all.Wait()
	n := counts[0] + counts[1]
	f.Fired, f.Detail = n > 100, fmt.Sprintf("%d forged notifications", 2*n)
	return errors.Join(errs...)
}

// forge rings both doorbells until ctx is done.
func (r *round) forge(ctx context.Context) (n int, err error) {
	conn, err := r.db.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer closeConn(conn)
	for ; ctx.Err() == nil; n++ {
		payload := strings.Repeat(rand.Text(), junkPayload/26)
		if _, err := conn.Exec(ctx, sqlForge, payload); err != nil && ctx.Err() == nil {
			return n, fmt.Errorf("forge a notification: %w", err)
		}
	}
	return n, nil
}

// longTransaction keeps a writer in flight. Nobody else waits for it, and what it
// wrote comes when it commits.
func longTransaction(ctx context.Context, r *round, f *history.Fault) error {
	err := r.hand.Hold(ctx, 6*time.Second)
	f.Fired = err == nil
	return err
}

func preparedTransactions(ctx context.Context, r *round, f *history.Fault) error {
	err := errors.Join(r.hand.Prepare(ctx, 3*time.Second, true), r.hand.Prepare(ctx, 100*time.Millisecond, false))
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
