package cache

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// askAtOnce calls ask n times at once and waits for all.
func askAtOnce(n int, ask func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(ask)
	}
	wg.Wait()
}

// However many callers ask, one call of find runs at a time, and a result is used for
// 20 times as long as it took.
func TestGet(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]error{"an answer": nil, "a failure": errors.New("too slow")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				k := New(func(took time.Duration) time.Duration { return 20 * took }, func() (int, error) {
					calls++
					time.Sleep(3 * time.Second)
					return calls, failure
				})
				want := func(when string, value int) {
					t.Helper()
					askAtOnce(10, func() {
						if a := k.Get(); a.Value != value || !errors.Is(a.Err, failure) {
							t.Errorf("%s: got %d (%v), want %d (%v)", when, a.Value, a.Err, value, failure)
						}
					})
				}
				want("at first", 1)
				time.Sleep(59 * time.Second)
				want("before 20 times what it took", 1)
				time.Sleep(2 * time.Second)
				want("after that", 2)
			})
		})
	}
}

// A caller that does not wait gets the last result while the next one is found.
func TestGetWithin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		k := New(For(time.Minute), func() (int, error) {
			calls++
			time.Sleep(10 * time.Second)
			return calls, nil
		})
		impatient := func() *Result[int] {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return k.GetWithin(ctx)
		}
		if a := impatient(); a != nil {
			t.Errorf("without an answer: got %v, want none", a)
		}
		time.Sleep(10 * time.Second)
		if a := impatient(); a == nil || a.Value != 1 {
			t.Errorf("an answer that nobody waited for: got %v, want 1", a)
		}
		time.Sleep(time.Minute)
		if a := impatient(); a == nil || a.Value != 1 {
			t.Errorf("while the next is looked for: got %v, want 1", a)
		}
		time.Sleep(10 * time.Second)
		if a := impatient(); a == nil || a.Value != 2 {
			t.Errorf("after that: got %v, want 2", a)
		}
	})
}

func TestPanicIsAnError(t *testing.T) {
	t.Parallel()
	k := New(For(0), func() (int, error) { panic("a fault planted by a test") })
	if a := k.Get(); a.Err == nil {
		t.Error("got no error, want one")
	}
}
