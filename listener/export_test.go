package listener

import (
	"context"
	"sync/atomic"
	"time"
)

// What the tests see of the inside.

const (
	MinPause   = minPause
	MaxPause   = maxPause
	MinBackoff = minBackoff
	MaxBackoff = maxBackoff
	EmptyLooks = emptyLooks
	QuickRings = quickRings
	VainLimit  = vainLimit
	StaleAfter = staleAfter
)

// Bell is a doorbell by itself.
type Bell struct {
	bell    doorbell
	wakeups atomic.Uint64
}

// NewBell returns a doorbell of a leader that polls.
func NewBell(s Doorbell, fallback time.Duration) *Bell {
	b := &Bell{}
	b.bell = doorbell{session: s, fallback: fallback, quickly: quickly, wakeups: &b.wakeups}
	return b
}

// Rest is rest.
func (b *Bell) Rest(ctx context.Context, found int) error { return b.bell.rest(ctx, found) }

// Armed reports whether writers ring.
func (b *Bell) Armed() bool { return b.bell.armed }

// Wakeups returns how often somebody rang.
func (b *Bell) Wakeups() uint64 { return b.wakeups.Load() }

// SetQuickly makes the leader poll after rings that come so soon one after the
// other. Call it before Run.
func (l *Listener) SetQuickly(d time.Duration) { l.quickly = d }
