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
	{name: "doorbell", says: "bursts and silences in turn: a change while the leader falls asleep wakes it", kind: kindCluster, safe: false, begin: tryDoorbell},
	{name: "notify-off", says: "taskfeed.notify = 'off' for the whole database, for 3 s", kind: kindBell, begin: notifyOff},
	{name: "notify-queue", says: "another program listens within a transaction for 2 s, so that Postgres keeps every notification", kind: kindBell, begin: holdQueue},
	{name: "notify-flood", says: "thousands of forged notifications a second with junk payloads, for 2 s", kind: kindBell, begin: notifyFlood},
}

// How the doorbell is tried: bursts that keep the leader awake, each followed by
// one more change while it falls asleep, and then nothing until that one has been
// moved. The leader looks by itself once a second; a change that waits for that
// was not rung for. A machine may be slow now and then, but not every other time.
const (
	doorbellTime    = 5 * time.Second       // and longer where the leader is seldom awake
	doorbellLonger  = 45 * time.Second      // at most
	doorbellLeast   = 8                     // times that the leader must be awake
	doorbellBurst   = 8                     // changes of each of
	doorbellHands   = 6                     // writers at once
	doorbellSpread  = 40 * time.Millisecond // within which the one more change comes
	doorbellPatient = 600 * time.Millisecond
	doorbellMissed  = 3 // so many waits, and a quarter of all, are no accident
)

// bellTrial is what came of trying the doorbell.
type bellTrial struct {
	bursts, awake, waited int
	asleep, slow          int // changes while the leader slept for certain, which it is rung for; and those of them that waited too
}

func tryDoorbell(ctx context.Context, r *round, f *history.Fault) (deed, error) {
	resume := func(context.Context) error { return tell(r.writers, actor.Command{Do: actor.DoPause, On: true}) }
	if err := tell(r.writers, actor.Command{Do: actor.DoPause}); err != nil {
		return deed{undo: resume}, err
	}
	pause.For(ctx, 300*time.Millisecond)
	conn, err := r.db.connect(ctx)
	if err != nil {
		return deed{undo: resume}, err
	}
	var trial bellTrial
	began := time.Now()
	effect := func(ctx context.Context) (string, error) {
		for time.Since(began) < doorbellTime || trial.awake < doorbellLeast {
			if err := r.ring(ctx, conn, &trial); err != nil {
				return "", err
			}
		}
		return trial.judge(f)
	}
	return deed{felt: effect, patience: doorbellLonger, undo: func(ctx context.Context) error {
		query.Close(conn)
		return resume(ctx)
	}}, nil
}

// ring has the leader wake up and be about to sleep again when one more change
// comes.
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

// judge tells the changes that nobody rang for from a machine that has no time: on
// that one those wait, too, that were rung for.
func (t *bellTrial) judge(f *history.Fault) (string, error) {
	text := fmt.Sprintf("the leader was awake after %d of %d bursts, and %d changes waited; of %d while it slept %d", t.awake, t.bursts, t.waited, t.asleep, t.slow)
	switch {
	case t.waited < doorbellMissed || 4*t.waited < t.awake:
		return text, nil
	case 8*t.slow > t.asleep:
		return "", errors.New("the machine is too slow to tell: " + text)
	}
	f.Breaks, f.Wrong = "P11", fmt.Sprintf("%d of %d single changes waited for more than %v: nobody rang for them", t.waited, t.awake, doorbellPatient)
	return text, nil
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
func notifyOff(ctx context.Context, r *round, _ *history.Fault) (deed, error) {
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
	return deed{felt: off, lasts: 3 * time.Second, undo: func(ctx context.Context) error {
		return apply(ctx, "RESET taskfeed.notify")
	}}, apply(ctx, "SET taskfeed.notify = 'off'")
}

// renewSessions has all servers connect again, and returns how many sessions they
// had.
func (r *round) renewSessions(ctx context.Context) (int, error) {
	return one[int](ctx, r.db, fmt.Sprintf(sqlSignalAll, "pg_terminate_backend"))
}

const (
	sqlForge    = `SELECT pg_notify('taskfeed', $1), pg_notify('taskfeed_log', $1)`
	forgers     = 2
	junkPayload = 2000
)

// leastForged is how many forged notifications are a flood.
const leastForged = 200

func notifyFlood(ctx context.Context, r *round, _ *history.Fault) (deed, error) {
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
	return deed{felt: flooded, lasts: 2 * time.Second, undo: func(context.Context) error {
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

// holdQueue sees that the notifications are so few that a queue that cannot be
// emptied does not fill. That it could not be emptied shows in the end, when what
// was kept comes.
func holdQueue(ctx context.Context, r *round, f *history.Fault) (deed, error) {
	conn, err := r.db.connect(ctx)
	if err != nil {
		return deed{}, err
	}
	d := deed{undo: func(context.Context) error { query.Close(conn); return nil }}
	for _, sql := range []string{"LISTEN taskfeed", "BEGIN", "SELECT 1"} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return d, fmt.Errorf("listen within a transaction: %w", err)
		}
	}
	d.felt = func(ctx context.Context) (string, error) { return r.keptInQueue(ctx, conn, f) }
	return d, nil
}

func (r *round) keptInQueue(ctx context.Context, conn *pgx.Conn, f *history.Fault) (string, error) {
	if _, err := one[string](ctx, r.db, "SELECT pg_notify('taskfeed', '')::text"); err != nil { // one at the least
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
