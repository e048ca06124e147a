package listener_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/listener"
)

func TestReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("the disk is full")
		var fault error
		frozen := make(chan struct{})
		block := false
		s := newFakeSession()
		s.move = func() (_ taskfeed.Moved, err error) {
			wait := false
			s.do(func() { wait, err = block, fault })
			if wait {
				<-frozen
			}
			return taskfeed.Moved{}, err
		}
		idle, err := listener.New(nil, newFeed(), listener.Config{})
		if err != nil || idle.Ready() == nil || idle.Stats().Up {
			t.Errorf("before the start: ready (%v), want not", err)
		}
		l, stop := runFake(t, s, newFeed(), listener.Config{})
		pass(time.Second)
		if err := l.Ready(); err != nil || !l.Stats().Up || !l.Stats().Leader {
			t.Errorf("well: got %v, %+v; want nil, up and leader", err, l.Stats())
		}
		s.do(func() { fault = broken })
		pass(3 * time.Second)
		if err := l.Ready(); err == nil || !strings.Contains(err.Error(), "disk is full") || l.Stats().Up || !l.Stats().Leader {
			t.Errorf("while a statement fails: got %v, %+v; want that it says why and stays leader", err, l.Stats())
		}
		s.do(func() { fault = nil })
		pass(3 * time.Second)
		if err := l.Ready(); err != nil {
			t.Errorf("ready after the recovery: got %v, want nil", err)
		}
		s.do(func() { block = true })
		pass(listener.StaleAfter + 3*time.Second)
		if err := l.Ready(); err == nil || l.Stats().Up {
			t.Error("ready though no look has ended for long, want not")
		}
		close(frozen)
		stop()
		if l.Stats().Leader {
			t.Error("leader after the end, want not")
		}
	})
}

// Once, servers turned not ready while one long statement sorted a backlog of two
// million changes. Now a server stays ready as long as the statement progresses.
func TestLongStatementStaysReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSession()
		slow, works := false, false
		s.move = func() (taskfeed.Moved, error) {
			for range 120 {
				s.do(func() {
					if slow && works {
						s.worked()
					}
				})
				if slow {
					time.Sleep(time.Second)
				}
			}
			return taskfeed.Moved{}, nil
		}
		l, stop := runFake(t, s, newFeed(), listener.Config{})
		pass(5 * time.Second)
		s.do(func() { slow, works = true, true })
		for i := range 60 {
			pass(time.Second)
			if err := l.Ready(); err != nil {
				t.Fatalf("after %d s of a statement that goes on: %v, want ready", i, err)
			}
		}
		s.do(func() { works = false })
		pass(10 * time.Second)
		if err := l.Ready(); err == nil || !strings.Contains(err.Error(), "last look at the database") {
			t.Errorf("10 s after the last progress: %v, want not ready", err)
		}
		s.do(func() { slow = false })
		pass(2 * time.Second)
		stop()
	})
}

// A database that is away is tried again at once, then up to a second apart. The
// failure is logged once.
func TestRunTriesAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder // written by one goroutine and read while that sleeps
		var tries []time.Time
		refused := errors.New("connection refused")
		s := newFakeSession()
		l, err := listener.New(func(context.Context) (_ listener.Session, err error) {
			s.do(func() {
				tries = append(tries, time.Now())
				err = refused
			})
			return s, err
		}, newFeed(), listener.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatalf("new: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		pass(30 * time.Second)
		if len(tries) < 30 || len(tries) > 80 {
			t.Errorf("tries in 30 s: got %d, want from 30 to 80", len(tries))
		}
		if first := tries[1].Sub(tries[0]); first > listener.MinBackoff {
			t.Errorf("second try: after %v, want at most %v", first, listener.MinBackoff)
		}
		for i := 1; i < len(tries); i++ {
			if gap := tries[i].Sub(tries[i-1]); gap > listener.MaxBackoff {
				t.Errorf("try %d: %v after the one before, want at most %v", i, gap, listener.MaxBackoff)
			}
		}
		if got := strings.Count(log.String(), "connection refused"); got != 1 {
			t.Errorf("log lines about it: got %d, want 1:\n%s", got, &log)
		}
		s.do(func() { refused = nil })
		pass(10 * time.Second)
		if err := l.Ready(); err != nil || !l.Stats().Leader {
			t.Errorf("after it came back: ready %v, %+v; want nil and leader", err, l.Stats())
		}
		before := len(tries)
		lost := time.Now()
		s.do(func() { s.err, s.dead = errors.New("connection lost"), true })
		pass(1500 * time.Millisecond)
		if len(tries) <= before || tries[before].Sub(lost) > time.Second {
			t.Errorf("first try after the connection was lost: %v, want at once", tries[before:])
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: got %v, want nil", err)
		}
	})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, cfg := range []listener.Config{{FallbackInterval: -1}, {TakeoverInterval: -1}, {MaintainInterval: -1}} {
		if _, err := listener.New(nil, newFeed(), cfg); err == nil {
			t.Errorf("%+v: no error, want one", cfg)
		}
	}
	if _, err := listener.New(nil, newFeed(), listener.Config{Retention: -1}); err != nil {
		t.Errorf("a negative retention: got %v, want nil: it keeps events for ever", err)
	}
}
