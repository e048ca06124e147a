package listener_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/listener"
)

// A sleeping leader sends no statement between its fallback looks.
func TestIdleLeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSession()
		l, stop := runFake(t, s, newFeed(), listener.Config{FallbackInterval: 10 * time.Second})
		pass(time.Second) // virtual: it is asleep by then
		before := s.all()
		if !l.Stats().Leader || before[len(before)-1] != "wait" {
			t.Fatalf("after a second: leader %t, calls %v; want it asleep", l.Stats().Leader, before)
		}
		pass(8 * time.Second)
		if got := s.all(); len(got) != len(before) {
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

// A leader looks for stalled tasks so often that they are told a tenth late, at once
// where there are more, and not at all unless it was asked to.
func TestLeaderLooksForStalledTasks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, pages := newFakeSession(), 3
		s.tellStalled = func() (int, bool, error) {
			pages--
			switch {
			case pages > 0:
				return 1000, true, nil
			case pages == 0:
				return 7, false, nil
			}
			return 0, false, errors.New("not now")
		}
		l, stop := runFake(t, s, newFeed(), listener.Config{StalledAfter: 100 * time.Second})
		pass(time.Second)
		if got := s.count("tell stalled"); got != 3 || l.Stats().Stalled != 2007 {
			t.Errorf("looked %d times and told of %d, want 3 and 2007", got, l.Stats().Stalled)
		}
		pass(100 * time.Second)
		if got := s.count("tell stalled"); got != 13 || !l.Stats().Leader {
			t.Errorf("looked %d times after 100 s, want one more each 10 s; leader: %t", got, l.Stats().Leader)
		}
		stop()
	})
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSession()
		_, stop := runFake(t, s, newFeed(), listener.Config{})
		pass(time.Minute)
		if got := s.count("tell stalled"); got != 0 {
			t.Errorf("looked %d times without being asked to", got)
		}
		stop()
	})
}

// What runs beside the lead is told which log it is, and has ended when another server can
// lead. Its failure ends nothing.
func TestLeading(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSession()
		began, ended := 0, 0
		l, stop := runFake(t, s, newFeed(), listener.Config{Leading: func(ctx context.Context, id [16]byte, epoch int64) error {
			began++
			if id[0] != 1 || epoch != 7 {
				t.Errorf("told of log %x, epoch %d, want 01 and 7", id, epoch)
			}
			<-ctx.Done()
			if s.count("close") > 0 {
				t.Error("the session was closed while it ran")
			}
			ended++
			return errors.New("broken")
		}})
		pass(time.Second)
		if began != 1 || ended != 0 || !l.Stats().Leader {
			t.Errorf("while leading: began %d times, ended %d times, leader %t", began, ended, l.Stats().Leader)
		}
		stop()
		if ended != 1 {
			t.Errorf("after the end: ended %d times, want once", ended)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSession()
		l, _ := runFake(t, s, newFeed(), listener.Config{Leading: func(context.Context, [16]byte, int64) error { return errors.New("broken") }})
		pass(time.Minute)
		if !l.Stats().Leader || s.count("close") > 0 {
			t.Errorf("leader %t, want it to lead on without what failed", l.Stats().Leader)
		}
	})
}

func events(from, to taskfeed.Cursor) []taskfeed.Event {
	var all []taskfeed.Event
	for id := from; id <= to; id++ {
		all = append(all, taskfeed.Event{ID: id})
	}
	return all
}

// What looks need from time to time is done when their events have been published, and a
// failure of it that ends the session ends leadership.
func TestEventsDoNotWaitForAfterLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, f := newFakeSession(), newFeed()
		moved := taskfeed.Cursor(0)
		s.move = func() (taskfeed.Moved, error) {
			if moved++; moved > 3 {
				return taskfeed.Moved{}, nil
			}
			return taskfeed.Moved{Count: 1, Last: moved, Events: events(moved, moved)}, nil
		}
		s.afterLook = func() error {
			if got, want := len(f.published(t)), min(int(moved), 3); got != want {
				t.Errorf("after look %d: %d events were published, want %d", moved, got, want)
			}
			if moved == 5 {
				return errors.New("the session has ended")
			}
			return nil
		}
		_, stop := runFake(t, s, f, listener.Config{})
		pass(10 * time.Second)
		stop()
		if looks, times := s.count("move"), s.count("after look"); looks < 5 || times != looks {
			t.Errorf("%d looks, and %d times what is due after one; want as many", looks, times)
		}
		if got := s.count("close"); got != 2 {
			t.Errorf("sessions closed: got %d, want the one that had ended and the one that was stopped", got)
		}
	})
}

// Events that were moved and could not be read, or whose move got no answer, are
// published before any later event.
func TestNothingIsPublishedOverAGap(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	cases := map[string]struct {
		moves []func() (taskfeed.Moved, error) // what the moves after the first return
		reads []error                          // of the first reads after the first event
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
				s := newFakeSession()
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
