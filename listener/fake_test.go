package listener_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/locks"
	"github.com/taskfeed/taskfeed/listener"
)

// fakeSession is a session on a log in memory. The zero value leads at once and
// has nothing to do. Set functions before Run.
type fakeSession struct {
	bellSession
	tryLead func() (bool, error)
	move    func() (taskfeed.Moved, error)
	after   func(after taskfeed.Cursor) ([]taskfeed.Event, error)
	dead    bool

	checkLocks func() (bool, []locks.Found, error)
	worked     func() // as given to Watch
}

func (s *fakeSession) CheckLocks(context.Context) (bool, []locks.Found, error) {
	if s.checkLocks != nil {
		return s.checkLocks()
	}
	return true, nil, nil
}

func (s *fakeSession) Watch(worked func()) { s.do(func() { s.worked = worked }) }

func (s *fakeSession) Close() { _ = s.call("close") }

func (s *fakeSession) Alive() (alive bool) {
	s.do(func() { alive = !s.dead })
	return alive
}

func (s *fakeSession) TryLead(context.Context) (bool, error) {
	_ = s.call("try to lead")
	if s.tryLead != nil {
		return s.tryLead()
	}
	return true, nil
}

func (s *fakeSession) TakeOver(context.Context, taskfeed.Cursor) (bool, error) { return false, nil }
func (s *fakeSession) Follow(context.Context) error                            { return nil }
func (s *fakeSession) Unfollow(context.Context) error                          { return nil }

func (s *fakeSession) EndStalledLeader(context.Context) (bool, error) {
	_ = s.call("end stalled leader")
	return false, nil
}

func (s *fakeSession) Move(context.Context) (taskfeed.Moved, error) {
	_ = s.call("move")
	if s.move != nil {
		return s.move()
	}
	return taskfeed.Moved{}, nil
}

func (s *fakeSession) MoveBacklog(context.Context, func(taskfeed.Moved) error) error {
	_ = s.call("move backlog")
	return nil
}

func (s *fakeSession) Maintain(context.Context, time.Duration) error {
	_ = s.call("maintain")
	return nil
}

func (s *fakeSession) After(_ context.Context, f taskfeed.Filter, after taskfeed.Cursor, _ int) ([]taskfeed.Event, taskfeed.Cursor, bool, error) {
	_ = s.call("read")
	if s.after != nil {
		events, err := s.after(after)
		return events, 0, len(events) > 0, err
	}
	return nil, 0, false, nil
}

func (s *fakeSession) LastID(context.Context) (taskfeed.Cursor, error) { return 0, nil }

// made returns the calls so far.
func (s *fakeSession) made() (calls []string) {
	s.do(func() { calls = append(calls, s.calls...) })
	return calls
}

// pass lets virtual time pass, until everybody else in the bubble waits.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// feed records what a listener publishes.
type feed struct {
	mu    sync.Mutex
	ids   []taskfeed.Cursor
	heads []taskfeed.Cursor
	wrong []string
	more  chan struct{} // holds a value when something was published since it was last empty
}

func newFeed() *feed { return &feed{more: make(chan struct{}, 1)} }

func (f *feed) SetHead(head taskfeed.Cursor) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heads = append(f.heads, head)
}

func (f *feed) Publish(events []taskfeed.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.heads) == 0 {
		f.wrong = append(f.wrong, "something was published before the head was set")
	}
	for _, e := range events {
		if n := len(f.ids); n > 0 && e.ID <= f.ids[n-1] {
			f.wrong = append(f.wrong, fmt.Sprintf("event %d was published after event %d", e.ID, f.ids[n-1]))
		}
		f.ids = append(f.ids, e.ID)
	}
	select {
	case f.more <- struct{}{}:
	default:
	}
}

// published returns the ids so far, and fails the test when their order is wrong.
func (f *feed) published(t *testing.T) []taskfeed.Cursor {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.wrong {
		t.Error(w)
	}
	f.wrong = nil
	return append([]taskfeed.Cursor(nil), f.ids...)
}

func (f *feed) head() taskfeed.Cursor {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.heads) == 0 {
		return -1
	}
	return f.heads[len(f.heads)-1]
}

// runFake runs a listener on a session of the test's own until the returned
// function is called. It is for bubbles of synctest.
func runFake(t *testing.T, s listener.Session, f *feed, cfg listener.Config) (*listener.Listener, func()) {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	l, err := listener.New(func(context.Context) (listener.Session, error) { return s, nil }, f, cfg)
	if err != nil {
		t.Fatalf("new: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	return l, func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: got %v, want nil after an ordered stop", err)
		}
	}
}

// A leader that sleeps leaves the database alone between its fallback looks.
func TestIdleLeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSession{}
		l, stop := runFake(t, s, newFeed(), listener.Config{FallbackInterval: 10 * time.Second})
		pass(time.Second) // virtual: it is asleep by then
		before := s.made()
		if !l.Stats().Leader || before[len(before)-1] != "wait" {
			t.Fatalf("after a second: leader %t, calls %v; want it asleep", l.Stats().Leader, before)
		}
		pass(8 * time.Second)
		if got := s.made(); len(got) != len(before) {
			t.Errorf("calls while asleep: got %v, want none", got[len(before):])
		}
		pass(92 * time.Second)
		looks := s.count("move")
		if looks < 10 || looks > 20 {
			t.Errorf("looks in 100 s: got %d, want about one each 10 s", looks)
		}
		if got := s.count("maintain"); got != 2 {
			t.Errorf("maintained %d times in 100 s, want at once and after a minute", got)
		}
		if got := s.count("read"); got > 1 {
			t.Errorf("reads of the log: got %d, want none while nothing is moved", got)
		}
		stop()
		if s.count("close") != 1 {
			t.Error("the session is open after the end, want it closed")
		}
	})
}

// False rings for followers cost few reads of the log; when it is quiet a
// follower tries to lead four times a second and looks for a stalled leader once.
func TestFollowerRests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSession{tryLead: func() (bool, error) { return false, nil }}
		_, stop := runFake(t, s, newFeed(), listener.Config{})
		pass(10 * time.Second)
		tries, searches := s.count("try to lead"), s.count("end stalled leader")
		if tries < 38 || tries > 42 || searches < 9 || searches > 11 {
			t.Errorf("in 10 s: %d tries to lead and %d searches, want 40 and 10", tries, searches)
		}
		stop()

		s = &fakeSession{tryLead: func() (bool, error) { return false, nil }}
		s.ring = time.Microsecond
		_, stop = runFake(t, s, newFeed(), listener.Config{})
		pass(10 * time.Second)
		if got, most := s.count("read"), int(10*time.Second/listener.MaxPause)+50; got > most {
			t.Errorf("reads in 10 s of false rings: got %d, want at most %d", got, most)
		}
		if tries := s.count("try to lead"); tries < 30 || tries > 45 {
			t.Errorf("tries to lead in 10 s of false rings: got %d, want about 40", tries)
		}
		stop()
	})
}

func events(from, to taskfeed.Cursor) []taskfeed.Event {
	var all []taskfeed.Event
	for id := from; id <= to; id++ {
		all = append(all, taskfeed.Event{ID: id})
	}
	return all
}

// What was moved and could not be read, or was moved by a statement whose answer
// did not arrive, is published before anything after it.
func TestNothingIsPublishedOverAGap(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	cases := map[string]struct {
		moves []func() (taskfeed.Moved, error) // what the moves do, one after the other
		reads []error                          // of the reads after the first event was published
	}{
		"the log could not be read": {
			moves: []func() (taskfeed.Moved, error){
				func() (taskfeed.Moved, error) { return taskfeed.Moved{Count: 3, Last: 4}, nil },
				func() (taskfeed.Moved, error) {
					return taskfeed.Moved{Count: 1, Last: 5, Events: events(5, 5)}, nil
				},
			},
			reads: []error{broken, broken},
		},
		"a move's answer did not arrive": {
			moves: []func() (taskfeed.Moved, error){
				func() (taskfeed.Moved, error) { return taskfeed.Moved{}, broken },
				func() (taskfeed.Moved, error) {
					return taskfeed.Moved{Count: 1, Last: 5, Events: events(5, 5)}, nil
				},
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &fakeSession{}
				moves, reads := 0, 0
				s.move = func() (taskfeed.Moved, error) {
					moves++
					switch {
					case moves == 1:
						return taskfeed.Moved{Count: 1, Last: 1, Events: events(1, 1)}, nil
					case moves-2 < len(c.moves):
						return c.moves[moves-2]()
					}
					return taskfeed.Moved{}, nil
				}
				s.after = func(after taskfeed.Cursor) ([]taskfeed.Event, error) {
					reads++
					if reads <= len(c.reads) {
						return nil, c.reads[reads-1]
					}
					last := taskfeed.Cursor(4) // in the log when this is asked
					if moves >= 3 {
						last = 5
					}
					return events(after+1, last), nil
				}
				f := newFeed()
				l, stop := runFake(t, s, f, listener.Config{})
				pass(10 * time.Second)
				stop()
				if got, want := fmt.Sprint(f.published(t)), "[1 2 3 4 5]"; got != want {
					t.Errorf("published: got %s, want %s", got, want)
				}
				if !l.Stats().Up {
					t.Errorf("not up in the end: %v", l.Ready())
				}
			})
		})
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("the disk is full")
		var fault error
		frozen := make(chan struct{})
		block := false
		s := &fakeSession{}
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
			t.Errorf("well again: got %v, want nil", err)
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

// A database that is away is tried again at once, then up to a second apart; the
// log says so once.
func TestRunTriesAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder // written by one goroutine, read when that sleeps
		var tries []time.Time
		refused := errors.New("connection refused")
		s := &fakeSession{}
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
