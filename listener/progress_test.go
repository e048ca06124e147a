package listener_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/listener"
)

// Servers turned not ready while a backlog of two million changes was put in
// order, which is one long statement, or while a follower read what it had missed:
// nothing moved their clock. Now it moves as long as there is progress.
func TestProgressIsNoSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSession{}
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
		if err := l.Ready(); err == nil || !strings.Contains(err.Error(), "last look") {
			t.Errorf("10 s after the last sign of life: %v, want not ready", err)
		}
		s.do(func() { slow = false })
		pass(2 * time.Second)
		stop()
	})
}

// A follower that reads on and on is no less ready.
func TestCatchingUpIsNoSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSession{tryLead: func() (bool, error) { return false, nil }}
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
