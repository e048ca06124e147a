// Package pause waits between tries, and no longer than the context lives.
package pause

import (
	"context"
	"math/rand/v2"
	"time"
)

// For waits for d and reports true, or false as soon as ctx is done. A context that
// is done already wins over a d that is over at once.
func For(ctx context.Context, d time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Backoff says how long to wait before the next try: it doubles from Least to Most,
// less up to a half at random, so that those who failed together do not come back
// together. It is for one goroutine.
type Backoff struct {
	Least, Most time.Duration // positive

	last time.Duration
}

// Next returns the time to wait before the next try.
func (b *Backoff) Next() time.Duration {
	b.last = min(max(2*b.last, b.Least), b.Most)
	return b.last/2 + rand.N(b.last/2+1)
}

// Reset begins anew, after a try that went well.
func (b *Backoff) Reset() { b.last = 0 }
