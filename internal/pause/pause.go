// Package pause waits between tries until a context is done.
package pause

import (
	"context"
	"math/rand/v2"
	"time"
)

// For waits for d and returns true, or false as soon as ctx is done. If ctx is done
// already, it returns false even for a d of zero.
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

// Backoff is the time to wait before the next try. It doubles from Least to Most, minus
// a random part of up to a half, so that clients that fail together do not retry
// together. It is not safe for concurrent use.
type Backoff struct {
	Least, Most time.Duration // positive

	last time.Duration
}

// Next returns the time to wait before the next try.
func (b *Backoff) Next() time.Duration {
	b.last = min(max(2*b.last, b.Least), b.Most)
	return b.last/2 + rand.N(b.last/2+1)
}

// Reset starts over with Least, after a successful try.
func (b *Backoff) Reset() { b.last = 0 }
