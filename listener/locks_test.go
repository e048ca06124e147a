package listener_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/locks"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/listener"
	"github.com/taskfeed/taskfeed/store"
)

// Once, when a session that is not a server held the leader lock, nothing was
// delivered although every server was ready. Now a server is not ready while there
// is no leader, and names the session.
func TestNobodyLeads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		intruder := locks.Found{Holder: locks.Holder{Lock: "leader", PID: 4711, Role: "mallory", Has: true}}
		s := newFollower()
		led, refused := true, false
		s.checkLocks = func() (bool, []locks.Found, error) {
			switch {
			case refused:
				return false, nil, errors.New("permission denied")
			case led:
				return true, nil, nil
			}
			return false, []locks.Found{intruder}, nil
		}
		l, stop := runFake(t, s, newFeed(), listener.Config{})
		set := func(isLed, isRefused bool) {
			s.do(func() { led, refused = isLed, isRefused })
			pass(10 * time.Second)
		}
		pass(10 * time.Second)
		if err := l.Ready(); err != nil {
			t.Errorf("led by another server: %v, want ready", err)
		}
		set(false, false)
		err := l.Ready()
		if taskfeed.CodeOf(err) != taskfeed.CodeUnavailable || !strings.Contains(err.Error(), "mallory") || !strings.Contains(err.Error(), "4711") {
			t.Errorf("led by nobody: %v, want unavailable, with the role and the process of the intruder", err)
		}
		if got := l.Stats().Intruders; len(got) != 1 || l.Stats().Up {
			t.Errorf("intruders: got %v, up %t; want one, and not up", got, l.Stats().Up)
		}
		set(true, false)
		if err := l.Ready(); err != nil || len(l.Stats().Intruders) > 0 {
			t.Errorf("led again: %v, intruders %v; want ready and none", err, l.Stats().Intruders)
		}
		set(false, true)
		if err := l.Ready(); err != nil {
			t.Errorf("without the right to look: %v, want ready", err)
		}
		stop()
	})
}

// Once, a server that started while there was no leader was ready for five seconds.
// Those are for a change of leaders, and this server had not seen a first one.
func TestNobodyLeadsAtTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFollower()
		led := false
		s.checkLocks = func() (bool, []locks.Found, error) { return led, nil, nil }
		l, stop := runFake(t, s, newFeed(), listener.Config{})
		for range 4 {
			pass(time.Second)
			if err := l.Ready(); taskfeed.CodeOf(err) != taskfeed.CodeUnavailable {
				t.Errorf("no leader so far: %v, want unavailable", err)
			}
		}
		s.do(func() { led = true })
		pass(3 * time.Second)
		s.do(func() { led = false })
		pass(3 * time.Second)
		if err := l.Ready(); err != nil {
			t.Errorf("the leader is gone for a moment: %v, want ready", err)
		}
		stop()
	})
}

// A leader checks every two seconds who else holds one of its locks. It checks
// more often, with every fallback look, while there is an intruder, and stays ready.
func TestLeaderChecksLocks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSession()
		var found []locks.Found
		s.checkLocks = func() (_ bool, now []locks.Found, _ error) {
			s.do(func() { now = found })
			return true, now, nil
		}
		l, stop := runFake(t, s, newFeed(), listener.Config{FallbackInterval: 500 * time.Millisecond})
		defer stop()
		checksIn := func(d time.Duration) int {
			before := s.count("check locks")
			pass(d)
			return s.count("check locks") - before
		}
		pass(5 * time.Second)
		if got := checksIn(20 * time.Second); got < 8 || got > 10 {
			t.Errorf("checks in 20 s without an intruder: got %d, want one every two seconds", got)
		}
		s.do(func() {
			found = []locks.Found{{Holder: locks.Holder{Lock: "doorbell", PID: 4711, Role: "mallory", Has: true}}}
		})
		pass(3 * time.Second)
		if got := l.Stats().Intruders; len(got) != 1 || l.Ready() != nil {
			t.Errorf("3 s after it took the lock: intruders %v and ready %v, want one, and ready", got, l.Ready())
		}
		if got := checksIn(20 * time.Second); got < 35 {
			t.Errorf("checks in 20 s with an intruder: got %d, want one with each look, every 0.5 s", got)
		}
		s.do(func() { found = nil })
		pass(3 * time.Second)
		if got := l.Stats().Intruders; len(got) > 0 {
			t.Errorf("after it released the lock: intruders %v, want none", got)
		}
	})
}

// A session that holds the leader lock and is not a server is ended, and a server
// leads.
func TestIntruderIsEnded(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	stranger := pgtest.Connect(t, url)
	if _, err := stranger.Exec(t.Context(), "SELECT pg_advisory_lock(1952543595, 2)"); err != nil {
		t.Fatal(err)
	}
	start(t, store.Config{URL: url}, listener.Config{}, nil).leads(t)
}
