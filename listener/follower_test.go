package listener_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/listener"
)

// newFollower returns a session that never leads.
func newFollower() *fakeSession {
	s := newFakeSession()
	s.tryLead = func() (bool, error) { return false, nil }
	return s
}

// Without rings a follower tries to lead four times a second and looks for a
// stalled leader once a second.
func TestFollowerRests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFollower()
		_, stop := runFake(t, s, newFeed(), listener.Config{})
		pass(10 * time.Second)
		tries, searches := s.count("try to lead"), s.count("end stalled leader")
		if tries < 38 || tries > 42 || searches < 9 || searches > 11 {
			t.Errorf("in 10 s: %d tries to lead and %d searches, want 40 and 10", tries, searches)
		}
		stop()
	})
}

// False rings cost a follower few reads of the log and no try to lead.
func TestFollowerFalseRings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFollower()
		s.ring = time.Microsecond
		_, stop := runFake(t, s, newFeed(), listener.Config{})
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

// A follower that has a long log to read stays ready.
func TestLongCatchUpStaysReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFollower()
		s.after = func(after taskfeed.Cursor) ([]taskfeed.Event, error) {
			if after >= 60 {
				return nil, nil
			}
			time.Sleep(time.Second) // a page
			return []taskfeed.Event{{ID: after + 1}}, nil
		}
		l, stop := runFake(t, s, newFeed(), listener.Config{})
		pass(5 * time.Second)
		for i := range 60 {
			pass(time.Second)
			if err := l.Ready(); err != nil {
				t.Fatalf("after %d s of reading: %v, want ready", i, err)
			}
		}
		stop()
	})
}

// A follower that is rung all the time reads 200 times a second at most, and one that is
// rung now and then reads at once.
func TestFollowerReadsSeveralMovesAtOnce(t *testing.T) {
	t.Parallel()
	for ring, want := range map[time.Duration]struct{ least, most int }{
		100 * time.Microsecond: {1500, 2050},
		time.Millisecond:       {1500, 2050},
		20 * time.Millisecond:  {495, 510},
	} {
		t.Run(ring.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newFollower()
				s.ring = ring
				more := true // a read has two pages: an event, and nothing
				s.after = func(after taskfeed.Cursor) ([]taskfeed.Event, error) {
					if more = !more; more {
						return nil, nil
					}
					return []taskfeed.Event{{ID: after + 1}}, nil
				}
				_, stop := runFake(t, s, newFeed(), listener.Config{})
				pass(10 * time.Second)
				if got := s.count("read") / 2; got < want.least || got > want.most {
					t.Errorf("%d reads in 10 s, want %d to %d", got, want.least, want.most)
				}
				stop()
			})
		})
	}
}
