package listener

import (
	"context"
	"sync/atomic"
	"time"
)

// Doorbell is how writers wake a sleeping leader.
type Doorbell interface {
	// DoorbellInUse reports whether writers ring at all.
	DoorbellInUse() bool
	// Listen makes writers ring this session while it is armed.
	Listen(ctx context.Context) error
	// Arm makes every writer ring from now on; it fails while one that did not
	// is in flight. Disarm takes it back.
	Arm(ctx context.Context) (bool, error)
	Disarm(ctx context.Context) error
	// Wait sleeps until somebody rings or d is over, and reports which.
	Wait(ctx context.Context, d time.Duration) (bool, error)
}

const (
	// minPause and maxPause bound the time between two looks while the leader
	// polls. A change waits at most that long and the look itself.
	minPause = time.Millisecond
	maxPause = 20 * time.Millisecond

	// emptyLooks in a row are a reason to arm.
	emptyLooks = 3

	// quickRings are rings within quickly of falling asleep; so many in a row
	// mean that ringing costs the writers more than polling costs us.
	quickRings = 8
	quickly    = 2 * time.Millisecond

	// vainRings in a row found nothing: somebody else rings, so look less often.
	vainRings = 8
)

// doorbell decides how a leader rests between two looks: asleep with the bell
// armed, or polling while it is so busy that ringing, which makes writers queue
// for a lock of the whole cluster at commit, would slow them.
type doorbell struct {
	session  Doorbell
	fallback time.Duration
	wakeups  *atomic.Uint64

	armed bool
	empty int // looks in a row that found nothing while polling
	quick int // rings in a row that came right after falling asleep
	vain  int // rings in a row that nothing was found after
}

// rest waits for a reason to look again, given how many changes the last look
// found.
func (d *doorbell) rest(ctx context.Context, found int) error {
	if d.armed {
		return d.sleep(ctx, found)
	}
	if found > 0 {
		d.empty = 0
		pause(ctx, minPause)
		return ctx.Err()
	}
	d.empty++
	if d.empty >= emptyLooks && d.session.DoorbellInUse() {
		armed, err := d.session.Arm(ctx)
		if err != nil {
			return err
		}
		if armed { // every writer that did not ring is visible: look once more
			d.armed, d.quick, d.vain = true, 0, 0
			return nil
		}
	}
	pause(ctx, min(minPause<<min(d.empty-1, 8), maxPause))
	return ctx.Err()
}

func (d *doorbell) sleep(ctx context.Context, found int) error {
	began := time.Now()
	rang, err := d.session.Wait(ctx, d.fallback)
	if err != nil || !rang {
		d.quick = 0
		return err
	}
	d.wakeups.Add(1)
	if found > 0 {
		d.vain = 0
	} else if d.vain++; d.vain > vainRings {
		pause(ctx, maxPause)
		return ctx.Err()
	}
	if time.Since(began) > quickly {
		d.quick = 0
	} else if d.quick++; d.quick >= quickRings {
		d.armed, d.empty = false, 0
		return d.session.Disarm(ctx)
	}
	return nil
}
