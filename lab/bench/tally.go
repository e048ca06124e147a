package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// tally counts events that arrive and records how long after their due time they
// came. It is safe for concurrent use.
type tally struct {
	bench *bench

	mu        sync.Mutex
	histogram *hdrhistogram.Histogram // microseconds
	got       int
	last      time.Duration // the longest
	want      int           // 0 while it is not known
	all       chan struct{} // closed when want events have come
}

func (b *bench) newTally() *tally {
	t := &tally{bench: b}
	t.begin()
	return t
}

// begin resets the tally.
func (t *tally) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.histogram = hdrhistogram.New(1, time.Minute.Microseconds(), 3)
	t.got, t.want, t.last, t.all = 0, 0, 0, make(chan struct{})
}

// arrive records a message that has a stamp, and ignores any other.
func (t *tally) arrive(payload []byte) {
	late, ok := t.bench.since(payload)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.got++
	t.last = max(t.last, late)
	_ = t.histogram.RecordValue(min(max(1, late.Microseconds()), time.Minute.Microseconds())) // within its bounds
	t.check()
}

func (t *tally) check() {
	if t.want > 0 && t.got == t.want {
		close(t.all)
		t.want = 0
	}
}

// arrivalTime is how long an event may take before it counts as lost.
const arrivalTime = 30 * time.Second

// wait waits until want events have come since begin. Call it once after begin.
func (t *tally) wait(ctx context.Context, want int) error {
	t.mu.Lock()
	t.want = want
	t.check()
	all := t.all
	t.mu.Unlock()
	timer := time.NewTimer(arrivalTime)
	defer timer.Stop()
	select {
	case <-all:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		t.mu.Lock()
		defer t.mu.Unlock()
		return fmt.Errorf("%d of %d events arrived within %v", t.got, want, arrivalTime)
	}
}

// quantile in milliseconds.
func (t *tally) quantile(q float64) float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return float64(t.histogram.ValueAtQuantile(q)) / 1000
}

// toLast is the longest time that an event took.
func (t *tally) toLast() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}
