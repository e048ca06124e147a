package verify

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/query"
	"github.com/taskfeed/taskfeed/lab/verify/actor"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

var bellFaults = []fault{
	{name: "doorbell", says: "bursts and pauses in turn: a change while the leader falls asleep must wake it", kind: kindCluster, safe: false, begin: tryDoorbell},
	{name: "notify-off", says: "taskfeed.notify = 'off' for the whole database, for 3 s", kind: kindBell, begin: notifyOff},
	{name: "notify-queue", says: "another program listens within a transaction for 2 s, so that Postgres keeps every notification", kind: kindBell, begin: holdQueue},
	{name: "notify-flood", says: "thousands of forged notifications a second with junk payloads, for 2 s", kind: kindBell, begin: notifyFlood},
}

// The doorbell is tested with bursts that keep the leader awake, each followed by one
// more change while the leader falls asleep, and then none until that change has been
// moved. The leader also looks once a second without a doorbell; a change that waits
// for that had no NOTIFY. A slow machine may delay some changes, but not a quarter.
const (
	doorbellTime    = 5 * time.Second       // and longer where the leader is seldom awake
	doorbellLonger  = 45 * time.Second      // at most
	doorbellLeast   = 8                     // bursts after which the leader must be awake
	doorbellBurst   = 8                     // changes of each writer
	doorbellWriters = 6                     // writers at once
	doorbellSpread  = 40 * time.Millisecond // within which the one more change comes
	doorbellPatient = 600 * time.Millisecond
	doorbellMissed  = 3 // this many waits, if they are a quarter of all, are a violation
)

// bellTrial counts the results of testing the doorbell.
type bellTrial struct {
	bursts int
	awake  int // single changes while the leader was awake or falling asleep
	waited int // of these, those that took too long
	asleep int // single changes while the leader certainly slept, so that their writer notified
	slow   int // of these, those that took too long
}

func tryDoorbell(ctx context.Context, r *round, f *history.Fault) (injection, error) {
	resume := func(context.Context) error { return tell(r.writers, actor.Command{Do: actor.DoPause, On: true}) }
	if err := tell(r.writers, actor.Command{Do: actor.DoPause}); err != nil {
		return injection{undo: resume}, err
	}
	pause.For(ctx, 300*time.Millisecond)
	conn, err := r.db.connect(ctx)
	if err != nil {
		return injection{undo: resume}, err
	}
	var trial bellTrial
	began := time.Now()
	seen := func(ctx context.Context) (string, error) {
		for time.Since(began) < doorbellTime || trial.awake < doorbellLeast {
			if err := r.ring(ctx, conn, &trial); err != nil {
				return "", err
			}
		}
		return trial.judge(f)
	}
	return injection{effect: seen, patience: doorbellLonger, undo: func(ctx context.Context) error {
		query.Close(conn)
		return resume(ctx)
	}}, nil
}

// ring keeps the leader awake with a burst, and makes one more change while it falls
// asleep.
func (r *round) ring(ctx context.Context, conn *pgx.Conn, t *bellTrial) error {
	armed, err := r.flurry(ctx, conn)
	if err != nil {
		return err
	}
	t.bursts++
	if !armed {
		pause.For(ctx, time.Duration(r.rand.Int64N(int64(doorbellSpread))))
	}
	took, err := r.lastChange(ctx, conn)
	switch {
	case err != nil:
		return err
	case armed:
		t.asleep++
		t.slow += oneIf(took > doorbellPatient)
	default:
		t.awake++
		t.waited += oneIf(took > doorbellPatient)
	}
	return nil
}

func oneIf(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// judge distinguishes missing notifications from a slow machine: on a slow machine,
// changes with a notification also wait.
func (t *bellTrial) judge(f *history.Fault) (string, error) {
	text := fmt.Sprintf("the leader was awake after %d of %d bursts, and %d changes waited; of %d while it slept %d", t.awake, t.bursts, t.waited, t.asleep, t.slow)
	switch {
	case t.waited < doorbellMissed || 4*t.waited < t.awake:
		return text, nil
	case 8*t.slow > t.asleep:
		return "", errors.New("the machine is too slow to tell: " + text)
	}
	f.Breaks, f.Wrong = "P11", fmt.Sprintf("%d of %d single changes waited for more than %v: no doorbell rang for them", t.waited, t.awake, doorbellPatient)
	return text, nil
}

// flurry lets several writers change tasks faster than the leader falls asleep. It
// reports whether the leader sleeps nevertheless.
func (r *round) flurry(ctx context.Context, conn *pgx.Conn) (armed bool, err error) {
	for len(r.bells) < doorbellWriters {
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

// sqlArmed selects whether the leader sleeps, by the lock that it holds then.
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
	if err := r.writer.Flurry(ctx, 1); err != nil {
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

// notifyOff switches the doorbell off for writers and servers; both must reconnect
// for it to apply.
func notifyOff(ctx context.Context, r *round, _ *history.Fault) (injection, error) {
	renewed := 0
	apply := func(ctx context.Context, setting string) error {
		if err := errors.Join(r.db.exec(ctx, alterDatabase+setting), tell(r.writers, actor.Command{Do: actor.DoRenew})); err != nil {
			return err
		}
		n, err := r.renewSessions(ctx)
		renewed = n
		return err
	}
	off := func(ctx context.Context) (string, error) {
		setting, err := one[string](ctx, r.db, "SELECT coalesce(current_setting('taskfeed.notify', true), '')")
		if err == nil && (setting != "off" || renewed == 0) {
			err = fmt.Errorf("taskfeed.notify is %q and %d sessions were ended", setting, renewed)
		}
		return fmt.Sprintf("%d sessions were ended and came back with the doorbell off", renewed), err
	}
	return injection{effect: off, lasts: 3 * time.Second, undo: func(ctx context.Context) error {
		return apply(ctx, "RESET taskfeed.notify")
	}}, apply(ctx, "SET taskfeed.notify = 'off'")
}

// renewSessions makes all servers reconnect, and returns how many sessions they had.
func (r *round) renewSessions(ctx context.Context) (int, error) {
	return one[int](ctx, r.db, fmt.Sprintf(sqlSignalAll, "pg_terminate_backend"))
}

const (
	sqlForge    = `SELECT pg_notify('taskfeed', $1), pg_notify('taskfeed_log', $1)`
	forgers     = 2
	junkPayload = 2000
)

// leastForged is the minimum number of forged notifications in a flood.
const leastForged = 200

func notifyFlood(ctx context.Context, r *round, _ *history.Fault) (injection, error) {
	ctx, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	var forged atomic.Int64
	errs := make([]error, forgers)
	for i := range forgers {
		all.Go(func() { errs[i] = r.forge(ctx, &forged) })
	}
	flooded := func(context.Context) (string, error) {
		if n := forged.Load(); n < leastForged {
			return "", fmt.Errorf("%d forged notifications", n)
		}
		return fmt.Sprintf("%d forged notifications and more", forged.Load()), nil
	}
	return injection{effect: flooded, lasts: 2 * time.Second, undo: func(context.Context) error {
		stop()
		all.Wait()
		return errors.Join(errs...)
	}}, nil
}

// forge rings both doorbells until ctx is done.
func (r *round) forge(ctx context.Context, forged *atomic.Int64) error {
	conn, err := r.db.connect(ctx)
	if err != nil {
		return err
	}
	defer query.Close(conn)
	for ctx.Err() == nil {
		payload := strings.Repeat(rand.Text(), junkPayload/26)
		if _, err := conn.Exec(ctx, sqlForge, payload); err != nil && ctx.Err() == nil {
			return fmt.Errorf("forge a notification: %w", err)
		}
		forged.Add(2)
	}
	return nil
}

// holdQueue checks that there are so few notifications that the queue does not fill
// while Postgres cannot empty it. At the end, a kept notification arrives, which shows
// that Postgres could not empty it.
func holdQueue(ctx context.Context, r *round, f *history.Fault) (injection, error) {
	conn, err := r.db.connect(ctx)
	if err != nil {
		return injection{}, err
	}
	d := injection{undo: func(context.Context) error { query.Close(conn); return nil }}
	for _, sql := range []string{"LISTEN taskfeed", "BEGIN", "SELECT 1"} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return d, fmt.Errorf("listen within a transaction: %w", err)
		}
	}
	d.effect = func(ctx context.Context) (string, error) { return r.keptInQueue(ctx, conn, f) }
	return d, nil
}

func (r *round) keptInQueue(ctx context.Context, conn *pgx.Conn, f *history.Fault) (string, error) {
	if _, err := one[string](ctx, r.db, "SELECT pg_notify('taskfeed', '')::text"); err != nil { // so that there is at least one
		return "", err
	}
	pause.For(ctx, 2*time.Second)
	var usage float64
	if err := conn.QueryRow(ctx, "SELECT pg_notification_queue_usage()").Scan(&usage); err != nil {
		return "", fmt.Errorf("read how full the queue is: %w", err)
	}
	text := fmt.Sprintf("%.4f of the queue in use", usage)
	if usage > 0.01 {
		f.Breaks, f.Wrong = "P12", text
	}
	if _, err := conn.Exec(ctx, "COMMIT"); err != nil {
		return "", err
	}
	if _, err := conn.WaitForNotification(ctx); err != nil {
		return "", fmt.Errorf("no notification was kept: %w", err)
	}
	return text, nil
}
