package feeds

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// endedMember is a connection that can be described.
type endedMember struct{ member }

func TestEndedConnectionsAreForgotten(t *testing.T) {
	t.Parallel()
	r := newRegistry("server")
	for range keepEnded + 7 {
		id, _ := r.enter()
		r.add(id, endedMember{})
		r.remove(id)
		r.remove(id)
		r.leave()
	}
	page, more := r.page("alice", true, 0, 2*keepEnded)
	if len(page) != keepEnded || more || page[0].ID != r.name(8) || page[keepEnded-1].ID != r.name(keepEnded+7) {
		t.Errorf("got %d from %s to %s, want the last %d", len(page), page[0].ID, page[len(page)-1].ID, keepEnded)
	}
	if open, _ := r.page("", false, 0, 10); len(open) != 0 {
		t.Errorf("got %d open, want none", len(open))
	}
}

// fakeMember records that it was ended.
type fakeMember struct {
	member
	ended func()
}

func (m fakeMember) end(int, string) { m.ended() }

func TestEndEvenly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var got []time.Duration
		members := make([]member, 4)
		for i := range members {
			members[i] = fakeMember{ended: func() { got = append(got, time.Since(start)) }}
		}
		endEvenly(members, 10*time.Second, reasonRestart)
		want := []time.Duration{0, 2500 * time.Millisecond, 5 * time.Second, 7500 * time.Millisecond}
		if !slices.Equal(got, want) {
			t.Errorf("ended at %v, want %v", got, want)
		}
		endEvenly(nil, 10*time.Second, reasonRestart)
		if got := time.Since(start); got != want[3] {
			t.Errorf("with nobody to end it took until %v, want no time", got)
		}
	})
}

func (endedMember) describe() Connection { return Connection{UserID: "alice"} }

// A twentieth of the connections is shed, rounded up.
func TestShed(t *testing.T) {
	t.Parallel()
	for open, want := range map[int]int{0: 0, 1: 1, 19: 1, 100: 5, 101: 6} {
		f := &Feeds{registry: newRegistry("server")}
		ended := 0
		for range open {
			id, _ := f.registry.enter()
			f.registry.add(id, fakeMember{ended: func() { ended++ }})
		}
		if got := f.Shed(0.05, 0); got != want || ended != want {
			t.Errorf("of %d: %d were shed and %d ended, want %d", open, got, ended, want)
		}
	}
}
