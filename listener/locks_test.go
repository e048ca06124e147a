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

// While somebody who is no server had the leader lock, nothing was delivered and
// every server was ready. A server that nobody leads says so, and who is to blame.
func TestNobodyLeads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		intruder := locks.Found{Holder: locks.Holder{Lock: "leader", PID: 4711, Role: "mallory", Has: true}}
		s := &fakeSession{tryLead: func() (bool, error) { return false, nil }}
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

// A server that starts while nobody leads was ready for five seconds, although it
// knew of no leader that another could be about to follow.
func TestNobodyLeadsAtTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSession{tryLead: func() (bool, error) { return false, nil }}
		led := false
		s.checkLocks = func() (bool, []locks.Found, error) { return led, nil, nil }
		l, stop := runFake(t, s, newFeed(), listener.Config{})
		for range 4 {
			pass(time.Second)
			if err := l.Ready(); taskfeed.CodeOf(err) != taskfeed.CodeUnavailable {
				t.Errorf("nobody has led yet: %v, want unavailable", err)
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

// The session of somebody who is no server and has the leader lock is ended, and a
// server leads.
func TestIntruderIsEnded(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	stranger := pgtest.Connect(t, url)
	if _, err := stranger.Exec(t.Context(), "SELECT pg_advisory_lock(1952543595, 2)"); err != nil {
		t.Fatal(err)
	}
	start(t, store.Config{URL: url}, listener.Config{}, nil).leads(t)
}
