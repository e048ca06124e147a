package listener

import (
	"context"
	"math/rand/v2"
	"time"
)

// Bounds of the time between two tries. The first try comes at once.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = time.Second
)

// backoff doubles from minBackoff to maxBackoff, jittered down by up to a half.
// The zero value is ready.
type backoff struct{ last time.Duration }

func (b *backoff) next() time.Duration {
	b.last = min(max(2*b.last, minBackoff), maxBackoff)
	return b.last/2 + rand.N(b.last/2)
}

func (b *backoff) reset() { b.last = 0 }

// pause waits for d or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
