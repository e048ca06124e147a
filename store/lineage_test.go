package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store"
)

func state(t *testing.T, s *store.Store) store.LogState {
	t.Helper()
	got, err := s.LogState(t.Context())
	if err != nil {
		t.Fatalf("read the state: %v", err)
	}
	return got
}

// The epoch rises with each jump of the ids and at no other time, and the log is final up
// to where they jumped.
func TestEpoch(t *testing.T) {
	t.Parallel()
	f := setup(t)
	takeOver(t, f.session, 0)
	add(t, f.app, "a")
	m := move(t, f.session)
	first := state(t, f.store)
	if first.ID == ([16]byte{}) || first.Epoch != 0 || first.Last != m.Last || first.Head != m.Last {
		t.Errorf("at first: got %+v, want an id and the end at %d", first, m.Last)
	}
	takeOver(t, f.session, m.Last)
	if again := state(t, f.store); again != first {
		t.Errorf("after a takeover: got %+v, want %+v", again, first)
	}

	takeOver(t, f.session, 500)
	jumped := state(t, f.store)
	if now := time.Now().Unix(); jumped.ID != first.ID || jumped.Epoch < now-60 || jumped.Epoch > now+60 {
		t.Errorf("after a jump: got %+v, want the time as the epoch", jumped)
	}
	if want := taskfeed.Cursor(500 + store.JumpBy); jumped.Last != want || jumped.Head != want {
		t.Errorf("after a jump: got %+v, want the end at %d", jumped, want)
	}
	if id, epoch, err := f.session.Lineage(t.Context()); err != nil || id != jumped.ID || epoch != jumped.Epoch {
		t.Errorf("lineage of the session: got %x, %d, %v, want %+v", id, epoch, err, jumped)
	}
	takeOver(t, f.session, jumped.Head+1)
	if got := state(t, f.store).Epoch; got <= jumped.Epoch {
		t.Errorf("after a second jump: epoch %d, want more than %d", got, jumped.Epoch)
	}
}

func TestAfterState(t *testing.T) {
	t.Parallel()
	f := setup(t)
	takeOver(t, f.session, 0)
	for _, name := range []string{"a", "b", "c"} {
		add(t, f.app, name)
	}
	m := move(t, f.session)
	got, events, _, more, err := f.store.AfterState(t.Context(), taskfeed.Filter{All: true}, 1, 500)
	if err != nil || more || got.Last != m.Last {
		t.Errorf("got %+v, more %t, %v, want the end at %d", got, more, err, m.Last)
	}
	if got := ids(events); !slices.Equal(got, []taskfeed.Cursor{2, 3}) {
		t.Errorf("got events %v, want 2 and 3", got)
	}
	pgtest.Exec(t, f.url, "UPDATE taskfeed.log_state SET expired_through = 77")
	if _, _, _, _, err := f.store.AfterState(t.Context(), taskfeed.Filter{All: true}, 1, 500); taskfeed.CodeOf(err) != taskfeed.CodeGone {
		t.Errorf("after retention: got %v, want %s", err, taskfeed.CodeGone)
	}
}
