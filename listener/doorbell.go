package listener

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
)

// Doorbell is how writers wake a sleeping leader.
type Doorbell interface {
	// Arm makes every writer ring from now on; it fails while a writer that did
	// not ring is in flight. Disarm takes it back.
	Arm(ctx context.Context) (bool, error)
	Disarm(ctx context.Context) error
	// Listen makes writers ring this session while it is armed.
	Listen(ctx context.Context) error
	// Wait sleeps until a writer rings or d is over, and reports which.
	Wait(ctx context.Context, d time.Duration) (bool, error)
}

const (
	// minPause and maxPause bound the time between two looks while the leader
	// polls. A change waits for at most maxPause and one look.
	minPause = time.Millisecond
	maxPause = 20 * time.Millisecond

	// emptyLooks is how many looks in a row must find nothing before the leader arms
	// the doorbell.
	emptyLooks = 3

	// A ring is quick when it comes within quickRing of falling asleep and a change
	// is found. After maxQuickRings in a row the leader polls instead: by then
	// ringing costs the writers more than polling costs the leader.
	maxQuickRings = 8
	quickRing     = 2 * time.Millisecond
)

// doorbell decides how a leader rests between two looks. When there is little to
// do it sleeps with the bell armed. When it is busy it polls: a writer that rings
// queues at commit for a lock of the whole cluster, which would slow the writers.
type doorbell struct {
	session   Doorbell
	inUse     bool // writers ring at all; otherwise the leader always polls
	fallback  time.Duration
	quickRing time.Duration // see the constant
	wakeups   *atomic.Uint64

	armed  bool
	silent bool // the last sleep ended without a ring
	empty  int  // looks in a row that found nothing while polling
	quick  int  // quick rings in a row
	rings  rings
}

// rest waits for a reason to look again. found is how many changes the last look
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
	if d.empty >= emptyLooks && d.inUse {
		armed, err := d.session.Arm(ctx)
		if err != nil {
			return err
		}
		if armed { // changes of writers that did not ring are visible by now: look once more
			d.armed, d.silent, d.quick, d.rings.last = true, false, 0, false
			return nil
		}
	}
	pause.For(ctx, min(minPause<<min(d.empty-1, 8), maxPause))
	return ctx.Err()
}

func (d *doorbell) sleep(ctx context.Context, found int) error {
	if d.silent && found > 0 { // nobody rang for it: LISTEN may have been lost
		if err := d.session.Listen(ctx); err != nil {
			return err
		}
	}
	if d.rings.fruitless(found) {
		pause.For(ctx, maxPause)
	}
	began := time.Now()
	rang, err := d.session.Wait(ctx, d.fallback)
	if err != nil {
		return err
	}
	d.silent = !rang
	if d.rings.rested(rang); !rang {
		d.quick = 0
		return nil
	}
	d.wakeups.Add(1)
	switch {
	case time.Since(began) > d.quickRing:
		d.quick = 0
	case found > 0: // a fruitless ring in between says nothing about the writers
		d.quick++
	}
	if d.quick < maxQuickRings {
		return nil
	}
	d.armed, d.empty = false, 0
	return d.session.Disarm(ctx)
}

// rings counts the rings of one session after which a look found nothing. A few of
// them are normal: the look before had found the change already. Many mean that
// somebody other than our writers rings.
type rings struct {
	last  bool // the last rest ended with a ring
	score int  // grows with each fruitless ring
}

const (
	fruitlessLimit = 8 // above this score, look less often
	fruitfulWorth  = 2 // how many fruitless rings one fruitful ring makes up for
)

// fruitless takes what the look after the last rest found, and reports whether to
// slow down because too many rings were fruitless.
func (r *rings) fruitless(found int) bool {
	switch {
	case !r.last:
	case found > 0:
		r.score = max(r.score-fruitfulWorth, 0)
	default:
		r.score = min(r.score+1, 2*fruitlessLimit)
	}
	return r.score > fruitlessLimit
}

// rested takes how a rest ended. A rest without a ring resets the score.
func (r *rings) rested(rang bool) {
	if r.last = rang; !rang {
		r.score = 0
	}
}
