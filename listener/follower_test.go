package listener_test

import (
	"fmt"
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

// appending is a log to which a leader appends an event at each interval, and rings. A
// read of it takes half a millisecond.
type appending struct {
	session  *fakeSession
	interval time.Duration
	began    time.Time
	waited   time.Duration // sum over all events, from their appending to the end of their read
	events   int
}

func (a *appending) at(id taskfeed.Cursor) time.Time {
	return a.began.Add(time.Duration(id) * a.interval)
}

func (a *appending) after(after taskfeed.Cursor) ([]taskfeed.Event, error) {
	if a.began.IsZero() {
		a.began = time.Now()
	}
	last := taskfeed.Cursor(time.Since(a.began) / a.interval)
	time.Sleep(500 * time.Microsecond)
	for id := after + 1; id <= last; id++ {
		a.waited += time.Since(a.at(id))
		a.events++
	}
	a.session.do(func() { a.session.ring = max(time.Until(a.at(last+1)), 1) })
	return events(after+1, last), nil
}

// The more events a read brings, the longer a follower rests: when many come it reads
// 200 times a second at most, and when few come it reads each at once.
func TestFollowerRestsByWhatReadsBring(t *testing.T) {
	t.Parallel()
	for rate, want := range map[time.Duration]struct {
		reads int // at most, in 10 s
		wait  time.Duration
	}{
		50:     {510, 500 * time.Microsecond},
		1000:   {10_100, 1000 * time.Microsecond},
		10_000: {2050, 5 * time.Millisecond},
		50_000: {2050, 5 * time.Millisecond},
	} {
		t.Run(fmt.Sprintf("%d a second", rate), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newFollower()
				log := &appending{session: s, interval: time.Second / rate}
				s.after, s.whole = log.after, true
				_, stop := runFake(t, s, newFeed(), listener.Config{})
				pass(10 * time.Second)
				stop()
				if got := s.count("read"); got > want.reads {
					t.Errorf("%d reads in 10 s, want at most %d", got, want.reads)
				}
				if got := log.waited / time.Duration(max(log.events, 1)); log.events < int(rate)*9 || got > want.wait {
					t.Errorf("%d events waited %v on average, want all of 10 s and at most %v", log.events, got, want.wait)
				}
			})
		})
	}
}
