package listener_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed/listener"
)

const fallback = time.Second

// rest rests n times, each after a look that found this many changes, and returns
// how long each rest was.
func rest(t *testing.T, b *listener.Bell, n, found int) []time.Duration {
	t.Helper()
	var took []time.Duration
	for range n {
		began := time.Now()
		if err := b.Rest(t.Context(), found); err != nil {
			t.Fatalf("rest: %v", err)
		}
		took = append(took, time.Since(began))
	}
	return took
}

// arm makes a doorbell fall asleep.
func arm(t *testing.T, b *listener.Bell) {
	t.Helper()
	rest(t, b, listener.EmptyLooks, 0)
	if !b.Armed() {
		t.Fatalf("after %d empty looks: not armed, want armed", listener.EmptyLooks)
	}
}

func TestDoorbellArms(t *testing.T) {
	t.Parallel()

	t.Run("after empty looks, and looks once more before it sleeps", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newFakeBell()
			b := listener.NewBell(s, true, fallback)
			rest(t, b, 5, 1)
			if b.Armed() || s.count("arm") > 0 {
				t.Fatal("armed while every look found something")
			}
			took := rest(t, b, listener.EmptyLooks, 0)
			if !b.Armed() || took[listener.EmptyLooks-1] != 0 {
				t.Errorf("after empty looks: armed %t and rested %v, want true and that it looks again at once", b.Armed(), took)
			}
			if got := rest(t, b, 1, 0); got[0] != fallback || s.count("wait") != 1 {
				t.Errorf("asleep: rested %v in %d waits, want %v in one", got, s.count("wait"), fallback)
			}
		})
	})

	t.Run("a look that finds something resets the count", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := listener.NewBell(newFakeBell(), true, fallback)
			for range 10 {
				rest(t, b, listener.EmptyLooks-1, 0)
				rest(t, b, 1, 1)
			}
			if b.Armed() {
				t.Error("armed, want not: some looks found something")
			}
		})
	})

	t.Run("not while a writer is in flight that did not ring", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newFakeBell()
			s.busy = true
			b := listener.NewBell(s, true, fallback)
			took := rest(t, b, 100, 0)
			if b.Armed() || s.count("wait") > 0 {
				t.Fatal("asleep though a writer may commit without ringing")
			}
			if longest := slices.Max(took); longest > listener.MaxPause {
				t.Errorf("longest rest: got %v, want at most %v", longest, listener.MaxPause)
			}
			s.busy = false
			rest(t, b, 1, 0)
			if !b.Armed() {
				t.Error("not armed after the writer's end")
			}
		})
	})

	t.Run("never when the doorbell is not in use", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newFakeBell()
			b := listener.NewBell(s, false, fallback)
			took := rest(t, b, 50, 0)
			if len(s.all()) > 0 {
				t.Errorf("calls: got %v, want none", s.all())
			}
			if got := took[len(took)-1]; got != listener.MaxPause {
				t.Errorf("rest between polls in the long run: got %v, want %v", got, listener.MaxPause)
			}
		})
	})
}

func TestDoorbellPolls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := listener.NewBell(newFakeBell(), false, fallback)
		for _, d := range rest(t, b, 20, 3) {
			if d != listener.MinPause {
				t.Fatalf("rest while looks find something: got %v, want %v", d, listener.MinPause)
			}
		}
		last := time.Duration(0)
		for i, d := range rest(t, b, 300, 0) { // many: the pause must not overflow
			if d < last || d < listener.MinPause || d > listener.MaxPause {
				t.Fatalf("rest %d: got %v after %v, want it to grow from %v to %v", i, d, last, listener.MinPause, listener.MaxPause)
			}
			last = d
		}
		if d := rest(t, b, 1, 1)[0]; d != listener.MinPause {
			t.Errorf("rest after something was found: got %v, want %v", d, listener.MinPause)
		}
	})
}

func TestDoorbellDisarms(t *testing.T) {
	t.Parallel()

	t.Run("when rings follow each other quickly", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newFakeBell()
			b := listener.NewBell(s, true, fallback)
			arm(t, b)
			s.ring = time.Millisecond
			rest(t, b, listener.MaxQuickRings, 1)
			if b.Armed() || s.count("disarm") != 1 {
				t.Fatalf("after %d quick rings: armed %t, want not", listener.MaxQuickRings, b.Armed())
			}
			if got := b.Wakeups(); got != listener.MaxQuickRings {
				t.Errorf("wake-ups: got %d, want %d", got, listener.MaxQuickRings)
			}
			arm(t, b) // and again, when it is quiet
		})
	})

	t.Run("when fruitless ones come between", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newFakeBell()
			s.ring = time.Millisecond
			b := listener.NewBell(s, true, fallback)
			arm(t, b)
			for i := range 2 * listener.MaxQuickRings {
				if !b.Armed() {
					t.Fatalf("disarmed after %d rings, want after %d that were fruitful", i, listener.MaxQuickRings)
				}
				rest(t, b, 1, i%2)
			}
			if b.Armed() {
				t.Error("armed, want not")
			}
		})
	})

	t.Run("not at a low rate", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newFakeBell()
			b := listener.NewBell(s, true, fallback)
			arm(t, b)
			s.ring = 5 * time.Millisecond
			rest(t, b, 500, 1)
			if !b.Armed() {
				t.Error("disarmed, want it to stay armed between events")
			}
		})
	})

	t.Run("not when a slow ring comes between", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newFakeBell()
			b := listener.NewBell(s, true, fallback)
			arm(t, b)
			for range 20 {
				s.ring = time.Millisecond
				rest(t, b, listener.MaxQuickRings-1, 1)
				s.ring = 50 * time.Millisecond
				rest(t, b, 1, 1)
			}
			if !b.Armed() {
				t.Error("disarmed, want armed: so many quick rings never came in a row")
			}
		})
	})
}

// A ring after which a look finds nothing comes from somebody else. However many
// there are, looks stay few, and the writers' own rings are heard.
func TestDoorbellFruitlessRings(t *testing.T) {
	t.Parallel()
	const second = time.Second

	looks := func(t *testing.T, b *listener.Bell, found func(i int) int) (n int) {
		t.Helper()
		for began := time.Now(); time.Since(began) < second; n++ {
			rest(t, b, 1, found(n))
		}
		return n
	}
	never := func(int) int { return 0 }

	t.Run("slow the looks down", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newFakeBell()
			b := listener.NewBell(s, true, fallback)
			arm(t, b)
			s.ring = time.Microsecond
			most := int(second/listener.MaxPause) + 2*listener.FruitlessLimit
			if got := looks(t, b, never); got > most {
				t.Errorf("looks in a second of false rings: got %d, want at most %d", got, most)
			}
			if !b.Armed() {
				t.Error("disarmed, want armed: false rings cost no writer anything")
			}
		})
	})

	t.Run("slow the looks down with true ones among them", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newFakeBell()
			b := listener.NewBell(s, true, fallback)
			arm(t, b)
			s.ring = time.Microsecond
			looks(t, b, never)
			got := looks(t, b, func(i int) int { return (i + 1) % 4 / 3 }) // each fourth
			if most := 3 * int(second/listener.MaxPause); got > most {
				t.Errorf("looks in a second of mostly false rings: got %d, want at most %d", got, most)
			}
		})
	})

	t.Run("do not slow them down when every second ring is true", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newFakeBell()
			s.ring = 3 * time.Millisecond
			b := listener.NewBell(s, true, fallback)
			arm(t, b)
			for i := range 200 {
				if d := rest(t, b, 1, i%2)[0]; d != s.ring {
					t.Fatalf("rest %d: got %v, want %v", i, d, s.ring)
				}
			}
		})
	})

	t.Run("are forgotten after silence", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newFakeBell()
			b := listener.NewBell(s, true, fallback)
			arm(t, b)
			s.ring = time.Microsecond
			looks(t, b, never)
			s.ring = 0
			rest(t, b, 1, 0)
			s.ring = 5 * time.Millisecond
			if d := rest(t, b, 1, 0)[0]; d != s.ring {
				t.Errorf("rest after the first ring since: got %v, want %v", d, s.ring)
			}
		})
	})
}

// A change that nobody rang for means that LISTEN may have been lost: listen again.
func TestDoorbellListensAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFakeBell()
		b := listener.NewBell(s, true, fallback)
		arm(t, b)
		rest(t, b, 1, 1) // found by the look after arming
		rest(t, b, 3, 0)
		if n := s.count("listen"); n > 0 {
			t.Fatalf("listened %d times while no ring was missed, want 0", n)
		}
		rest(t, b, 1, 1) // found by a fallback look
		if n := s.count("listen"); n != 1 {
			t.Errorf("listened %d times after a ring was missed, want once", n)
		}
		s.ring = 5 * time.Millisecond
		rest(t, b, 1, 0)
		rest(t, b, 5, 1)
		if n := s.count("listen"); n != 1 {
			t.Errorf("listened %d times after rings were heard again, want once", n)
		}
	})
}

func TestDoorbellErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		s := newFakeBell()
		b := listener.NewBell(s, true, fallback)
		rest(t, b, listener.EmptyLooks-1, 0)
		s.err = broken
		if err := b.Rest(t.Context(), 0); !errors.Is(err, broken) || b.Armed() {
			t.Errorf("arming: got %v, armed %t; want the error, and not armed", err, b.Armed())
		}
		s.err = nil
		arm(t, b)
		s.err = broken
		if err := b.Rest(t.Context(), 0); !errors.Is(err, broken) {
			t.Errorf("sleeping: got %v, want the error", err)
		}
		s.err = nil
		ctx, cancel := context.WithTimeout(t.Context(), fallback/2)
		defer cancel()
		if err := b.Rest(ctx, 0); err == nil {
			t.Error("sleeping when the context ends: got nil, want an error")
		}
		polling := listener.NewBell(newFakeBell(), false, fallback)
		if err := polling.Rest(ctx, 0); err == nil {
			t.Error("polling when the context has ended: got nil, want an error")
		}
	})
}
