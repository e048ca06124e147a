package verify

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/internal/verify/actor"
	"github.com/taskfeed/taskfeed/internal/verify/history"
)

var bellFaults = []fault{
	{name: "doorbell", says: "bursts and silences in turn: a change while the leader falls asleep wakes it", kind: kindCluster, safe: false, run: tryDoorbell},
	{name: "notify-off", says: "taskfeed.notify = 'off' for the whole database, for 3 s", kind: kindBell, run: notifyOff},
	{name: "notify-queue", says: "another program listens within a transaction for 2 s, so that Postgres keeps every notification", kind: kindBell, run: holdQueue},
	{name: "notify-flood", says: "thousands of forged notifications a second with junk payloads, for 2 s", kind: kindBell, run: notifyFlood},
}

// How the doorbell is tried: bursts that keep the leader awake, each followed by
// one more change while it falls asleep, and then nothing until that one has been
// moved. The leader looks by itself once a second; a change that waits for that
// was not rung for. A machine may be slow now and then, but not every other time.
const (
	doorbellTime    = 5 * time.Second       // and longer where the leader is seldom awake
	doorbellLonger  = 15 * time.Second      // at most
	doorbellLeast   = 8                     // times that the leader must be awake
	doorbellBurst   = 8                     // changes of each of
	doorbellHands   = 6                     // writers at once
	doorbellSpread  = 40 * time.Millisecond // within which the one more change comes
	doorbellPatient = 600 * time.Millisecond
	doorbellMissed  = 3 // so many waits, and a quarter of all, are no accident
)

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
	waited, awake, bursts := 0, 0, 0
	for began := time.Now(); time.Since(began) < doorbellTime || awake < doorbellLeast && time.Since(began) < doorbellLonger; bursts++ {
		armed, err := r.flurry(ctx, conn)
		if err != nil {
			return err
		}
		if armed {
			continue // it has gone to sleep already
		}
		awake++
		pause(ctx, time.Duration(r.rand.Int64N(int64(doorbellSpread))))
		took, err := r.lastChange(ctx, conn)
		if err != nil {
			return err
		}
		if took > doorbellPatient {
			waited++
		}
	}
	f.Fired, f.Detail = awake > 0, fmt.Sprintf("the leader was awake after %d of %d bursts, and %d changes waited", awake, bursts, waited)
	if waited >= doorbellMissed && 4*waited >= awake {
		f.Breaks, f.Wrong = "P11", fmt.Sprintf("%d of %d single changes waited for more than %v: nobody rang for them", waited, awake, doorbellPatient)
	}
	return nil
}

// flurry has several writers ring the bell faster than the leader cares to sleep.
// It reports whether the leader sleeps all the same.
func (r *round) flurry(ctx context.Context, conn *pgx.Conn) (armed bool, err error) {
	for len(r.bells) < doorbellHands {
		w, err := actor.NewWriter(r.writerConfig(fmt.Sprintf("bell%d", len(r.bells)+1)))
		if err != nil {
			return false, err
		}
		r.bells = append(r.bells, w)
	}
	var all sync.WaitGroup
	errs := make([]error, len(r.bells))
	for i, w := range r.bells {
		all.Go(func() { errs[i] = w.Flurry(ctx, doorbellBurst) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return false, err
	}
	err = conn.QueryRow(ctx, sqlArmed).Scan(&armed)
	return armed, err
}

// sqlArmed tells whether the leader sleeps, by the lock that it then holds.
const sqlArmed = `
SELECT EXISTS (
    SELECT
    FROM pg_locks
    WHERE locktype = 'advisory'
      AND (classid, objid, objsubid) = (1952543595, 1, 2)
      AND mode = 'ExclusiveLock'
      AND granted)`

const sqlChangesLeft = `SELECT count(*) FROM taskfeed.changes`

// lastChange makes one change and returns how long it took to be moved.
func (r *round) lastChange(ctx context.Context, conn *pgx.Conn) (time.Duration, error) {
	if err := r.hand.Flurry(ctx, 1); err != nil {
		return 0, err
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
	return time.Since(since), err
}

// notifyOff switches the doorbell off for writers and servers, each of which has
// to connect again to notice.
func notifyOff(ctx context.Context, r *round, f *history.Fault) error {
	apply := func(setting string) error {
		return errors.Join(r.db.exec(ctx, alterDatabase+setting), tell(r.writers, actor.Command{Do: actor.DoRenew}), r.renewSessions(ctx))
	}
	err := apply("SET taskfeed.notify = 'off'")
	f.Fired = err == nil
	pause(ctx, 3*time.Second)
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
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
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

// holdQueue sees that the notifications are so few that a queue that cannot be
// emptied does not fill.
func holdQueue(ctx context.Context, r *round, f *history.Fault) error {
	conn, err := r.db.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	for _, sql := range []string{"LISTEN taskfeed", "BEGIN", "SELECT 1"} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("listen within a transaction: %w", err)
		}
	}
	f.Fired = true
	pause(ctx, 2*time.Second)
	var usage float64
	if err := conn.QueryRow(ctx, "SELECT pg_notification_queue_usage()").Scan(&usage); err != nil {
		return fmt.Errorf("read how full the queue is: %w", err)
	}
	if f.Detail = fmt.Sprintf("%.4f of the queue in use", usage); usage > 0.01 {
		f.Breaks, f.Wrong = "P12", f.Detail
	}
	return nil
}
