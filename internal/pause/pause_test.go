package pause_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if !pause.For(t.Context(), time.Hour) || time.Since(began) != time.Hour {
			t.Errorf("waited for %v, want an hour", time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began = time.Now()
		if pause.For(ctx, time.Hour) || time.Since(began) != time.Minute {
			t.Errorf("waited for %v, want a minute and false: the context ended", time.Since(began))
		}
		if pause.For(ctx, 0) {
			t.Error("got true with a context that is done, want false")
		}
		if !pause.For(t.Context(), -time.Second) {
			t.Error("got false for a time that is over, want true")
		}
	})
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	b := pause.Backoff{Least: time.Second, Most: 10 * time.Second}
	for round := range 2 {
		for i, full := range []time.Duration{1, 2, 4, 8, 10, 10} {
			if got := b.Next(); got < full*time.Second/2 || got > full*time.Second {
				t.Errorf("round %d, try %d: got %v, want between a half and the whole of %d s", round, i, got, full)
			}
		}
		b.Reset()
	}
	others := pause.Backoff{Least: time.Second, Most: 10 * time.Second}
	same := true
	for range 20 {
		same = b.Next() == others.Next() && same
	}
	if same {
		t.Error("two wait equally long each time, want jitter")
	}
	tiny := pause.Backoff{Least: 1, Most: 1}
	if got := tiny.Next(); got < 0 || got > 1 {
		t.Errorf("got %v, want a nanosecond at most", got)
	}
}
