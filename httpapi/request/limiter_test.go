package request

import (
	"fmt"
	"testing"
	"time"
)

func TestAllowance(t *testing.T) {
	t.Parallel()
	var a Allowance
	start := time.Hour
	for i := range 120 {
		if a.Take(start, 120) > 0 {
			t.Fatalf("message %d of a burst: refused, want 120 to pass", i+1)
		}
	}
	if wait := a.Take(start, 120); wait != 500*time.Millisecond {
		t.Errorf("message 121: got a wait of %v, want half a second", wait)
	}
	if a.Take(start+500*time.Millisecond, 120) > 0 {
		t.Error("message after half a second: refused, want it to pass")
	}
	if a.Take(start+501*time.Millisecond, 120) == 0 {
		t.Error("message right after that: passed, want it refused")
	}
	for range 1000 {
		if a.Take(start, 0) > 0 {
			t.Fatal("refused although there is no limit")
		}
	}
}

func TestRequestLimiter(t *testing.T) {
	t.Parallel()
	start := time.Hour
	l := NewLimiter[string](60)
	for i := range 60 {
		if wait := l.Take(start, "alice"); wait != 0 {
			t.Fatalf("request %d of a burst waits %v, want 60 at once", i, wait)
		}
	}
	if wait := l.Take(start, "alice"); wait != time.Second {
		t.Errorf("the next one waits %v, want 1s", wait)
	}
	if wait := l.Take(start, "alice"); wait != time.Second {
		t.Errorf("a refusal makes the next one wait %v, want 1s still", wait)
	}
	if wait := l.Take(start+time.Second, "alice"); wait != 0 {
		t.Errorf("a second later the next one waits %v, want 0", wait)
	}
	for i := range 3 * minSweep {
		l.Take(start+time.Duration(i)*time.Second, fmt.Sprint("user-", i))
	}
	if got := len(l.used); got > minSweep {
		t.Errorf("%d users are remembered, want at most %d", got, minSweep)
	}
	if wait := NewLimiter[string](0).Take(start, "alice"); wait != 0 {
		t.Errorf("without a limit a request waits %v", wait)
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	r := NewRate(10)
	for i, tt := range []struct {
		at    time.Duration
		takes int // this many in a row, and no more
	}{{0, 10}, {0, 0}, {100 * time.Millisecond, 1}, {550 * time.Millisecond, 4}, {time.Minute, 10}} {
		for taken := 0; ; taken++ {
			wait := r.Take(tt.at)
			if taken < tt.takes && wait == 0 {
				continue
			}
			if taken != tt.takes || wait <= 0 || wait > 100*time.Millisecond {
				t.Errorf("%d: at %v %d were taken, wait %v; want %d, and a wait of a tenth at most", i, tt.at, taken, wait, tt.takes)
			}
			break
		}
	}
	for range 1000 {
		if wait := NewRate(0).Take(0); wait != 0 {
			t.Fatalf("without a limit: wait %v", wait)
		}
	}
}
