package listener

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
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

	// quickRings are rings within quickly of falling asleep, each for something
	// found; so many in a row mean that ringing costs the writers more than
	// polling costs us.
	quickRings = 8
	quickly    = 2 * time.Millisecond
)

// doorbell decides how a leader rests between two looks: asleep with the bell
// armed, or polling while it is so busy that ringing, which makes writers queue
// for a lock of the whole cluster at commit, would slow them.
type doorbell struct {
	session  Doorbell
	fallback time.Duration
	quickly  time.Duration // rings sooner than this after falling asleep are quick
	wakeups  *atomic.Uint64

	armed  bool
	silent bool // the last sleep ended by itself
	empty  int  // looks in a row that found nothing while polling
	quick  int  // rings in a row that came right after falling asleep
	rings  rings
}

// rest waits for a reason to look again, given how many changes the last look
// found.
func (d *doorbell) rest(ctx context.Context, found int) error {
	if d.armed {
		return d.sleep(ctx, found)
	}
	return d.poll(ctx, found)
}

func (d *doorbell) poll(ctx context.Context, found int) error {
	if found > 0 {
		d.empty = 0
		pause.For(ctx, minPause)
		return ctx.Err()
	}
	d.empty++
	if d.empty >= emptyLooks && d.session.DoorbellInUse() {
		armed, err := d.session.Arm(ctx)
		if err != nil {
			return err
		}
		if armed { // every writer that did not ring is visible: look once more
			d.armed, d.silent, d.quick, d.rings.last = true, false, 0, false
			return nil
		}
	}
	pause.For(ctx, min(minPause<<min(d.empty-1, 8), maxPause))
	return ctx.Err()
}

func (d *doorbell) sleep(ctx context.Context, found int) error {
	if d.silent && found > 0 { // nobody rang for it: perhaps we no longer listen
		if err := d.session.Listen(ctx); err != nil {
			return err
		}
	}
	if d.rings.vain(found) {
		pause.For(ctx, maxPause)
	}
	began := time.Now()
	rang, err := d.session.Wait(ctx, d.fallback)
	if err != nil {
		return err
	}
	d.silent = !rang
	if d.rings.note(rang); !rang {
		d.quick = 0
		return nil
	}
	d.wakeups.Add(1)
	switch {
	case time.Since(began) > d.quickly:
		d.quick = 0
	case found > 0: // a vain ring in between says nothing about the writers
		d.quick++
	}
	if d.quick < quickRings {
		return nil
	}
	d.armed, d.empty = false, 0
	return d.session.Disarm(ctx)
}

// rings judges the rings that one session hears. Now and then one is vain: the
// look before it found what it was about. Many mean that somebody else rings.
type rings struct {
	last  bool // the last rest ended with a ring
	score int  // grows with vain rings
}

const (
	vainLimit = 8 // above this score, look less often
	vainWorth = 2 // vain rings that one with a reason makes up for
)

// vain takes note of what was found after the last ring, if there was one, and
// reports whether to slow down.
func (r *rings) vain(found int) bool {
	switch {
	case !r.last:
	case found > 0:
		r.score = max(r.score-vainWorth, 0)
	default:
		r.score = min(r.score+1, 2*vainLimit)
	}
	return r.score > vainLimit
}

// note takes note of how a rest ended. Silence clears whoever rang.
func (r *rings) note(rang bool) {
	if r.last = rang; !rang {
		r.score = 0
	}
}
