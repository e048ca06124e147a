package listener_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/listener"
	"github.com/taskfeed/taskfeed/store"
)

// away is for how long a server has not reached the engine.
type away struct{ ns atomic.Int64 }

func (a *away) set(d time.Duration)     { a.ns.Store(int64(d)) }
func (a *away) value() time.Duration    { return time.Duration(a.ns.Load()) }
func (a *away) config() listener.Config { return listener.Config{EngineAway: a.value} }

// A leader that does not reach the engine gives the lead to a server that does, and does
// not take it back from that one, only when that one has gone.
func TestLeadGoesToWhoReachesTheEngine(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	app := pgtest.Connect(t, url)
	var cut, well away
	first := start(t, store.Config{URL: url}, cut.config(), nil)
	first.leads(t)
	second := start(t, store.Config{URL: url}, well.config(), nil)
	second.follows(t)
	add(t, app, 2)
	publishesLog(t, app, 2, first, second)

	cut.set(time.Minute) // it must have led for ten seconds, too
	second.leads(t)
	first.follows(t)
	add(t, app, 2)
	publishesLog(t, app, 4, first, second)

	second.stop()
	first.leads(t)
	add(t, app, 2)
	publishesLog(t, app, 6, first)
}

// newEngineSession returns a session that leads whenever it tries, beside others that may
// reach the engine and lead.
func newEngineSession(others, led *atomic.Bool) *fakeSession {
	s := newFakeSession()
	s.engine = others.Load
	s.led = led.Load
	return s
}

// A leader that does not reach the engine leads on while nobody else does, and for ten
// seconds in any case.
func TestWhoLeadsWithoutTheEngine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var others, led atomic.Bool
		var a away
		s := newEngineSession(&others, &led)
		l, stop := runFake(t, s, newFeed(), a.config())
		defer stop()
		expect := func(what string, leads bool) {
			t.Helper()
			if l.Stats().Leader != leads {
				t.Errorf("%s: it leads: %t, want %t", what, l.Stats().Leader, leads)
			}
			if err := l.Ready(); err != nil {
				t.Errorf("%s: %v, want ready", what, err)
			}
		}
		led.Store(true)
		others.Store(true)
		pass(time.Minute)
		expect("the engine is reached", true)
		if s.count("engine reached: false") > 0 || s.count("engine reached: true") == 0 {
			t.Error("it does not tell others that it reaches the engine")
		}
		others.Store(false)
		a.set(time.Minute)
		pass(time.Minute)
		expect("nobody reaches it", true)
		if s.count("engine reached: false") == 0 {
			t.Error("it does not tell others that it does not reach the engine")
		}
		a.set(9 * time.Second)
		others.Store(true)
		pass(time.Minute)
		expect("it has not been reached for 9 s", true)

		a.set(11 * time.Second)
		pass(5 * time.Second)
		expect("another server reaches it", false)
		tries := s.count("try to lead")
		pass(time.Minute)
		expect("the other leads", false)
		if got := s.count("try to lead"); got != tries {
			t.Errorf("it tried to lead %d times while another server was the better leader", got-tries)
		}
		a.set(0)
		pass(5 * time.Second)
		expect("it is reached again, and nobody has the lead", true)
		a.set(11 * time.Second)
		led.Store(false)
		pass(5 * time.Second) // it gave the lead away; the other is frozen
		pass(5 * time.Second)
		expect("the better leader does not lead", true)
		pass(9 * time.Second)
		expect("it leads for ten seconds", true)
	})
}

// Without an engine nothing is told to others.
func TestNoEngine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSession()
		l, stop := runFake(t, s, newFeed(), listener.Config{})
		defer stop()
		pass(time.Minute)
		if !l.Stats().Leader || s.count("engine reached: true")+s.count("engine reached: false") > 0 {
			t.Errorf("leader %t, calls %v; want no word about an engine", l.Stats().Leader, s.all())
		}
	})
}
