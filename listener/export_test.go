package listener

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	MinPause       = minPause
	MaxPause       = maxPause
	MinBackoff     = minBackoff
	MaxBackoff     = maxBackoff
	EmptyLooks     = emptyLooks
	MaxQuickRings  = maxQuickRings
	FruitlessLimit = fruitlessLimit
	StaleAfter     = staleAfter
)

// Bell is a doorbell by itself.
type Bell struct {
	bell    doorbell
	wakeups atomic.Uint64
}

// NewBell returns the doorbell of a leader that polls.
func NewBell(s Doorbell, inUse bool, fallback time.Duration) *Bell {
	b := &Bell{}
	b.bell = doorbell{session: s, inUse: inUse, fallback: fallback, quickRing: quickRing, wakeups: &b.wakeups}
	return b
}

func (b *Bell) Rest(ctx context.Context, found int) error { return b.bell.rest(ctx, found) }

func (b *Bell) Armed() bool { return b.bell.armed }

func (b *Bell) Wakeups() uint64 { return b.wakeups.Load() }

// SetQuickRing replaces the constant. Call it before Run.
func (l *Listener) SetQuickRing(d time.Duration) { l.quickRing = d }
