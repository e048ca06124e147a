package store_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store"
)

// A user is erased while the sequencer moves the changes of this user and others:
// neither fails, nobody else loses an event, and none of the user appears afterwards.
func TestForgetWhileMoving(t *testing.T) {
	t.Parallel()
	f := setup(t)
	const rounds, each = 30, 40
	var wg sync.WaitGroup
	for i := range rounds {
		exec(t, f.app, fmt.Sprintf(`INSERT INTO taskfeed.tasks (id, user_id)
			SELECT 'r%d-' || i, CASE WHEN i %% 2 = 0 THEN 'alice' ELSE 'bob' END FROM generate_series(1, %d) AS i`, i, each))
		wg.Go(func() {
			if _, err := f.store.Forget(t.Context(), "alice", 7); err != nil {
				t.Errorf("bad input 113: forget: %v", err)
			}
		})
		if _, err := f.session.Move(t.Context()); err != nil {
			t.Errorf("bad input 113: move: %v", err)
		}
		wg.Wait()
	}
	var total store.Forgotten
	for {
		forgotten, err := f.store.Forget(t.Context(), "alice", 50)
		if err != nil {
			t.Fatalf("bad input 113: forget: %v", err)
		}
		if forgotten.Total() == 0 {
			break
		}
		total.Tasks += forgotten.Tasks
	}
	moveAll(t, f.session)
	if got := readFeed(t, f.store, taskfeed.Filter{UserID: "alice"}, 500); len(got) != 0 {
		t.Errorf("bad input 113: the log has %d events of alice, want none", len(got))
	}
	if got := value[int](t, f.app, `SELECT count(*) FROM taskfeed.events WHERE user_id = 'bob'`); got != rounds*each/2 {
		t.Errorf("bad input 113: the log has %d events of bob, want %d", got, rounds*each/2)
	}
	if got := value[int](t, f.app, `SELECT count(*) FROM taskfeed.tasks`); got != rounds*each/2 {
		t.Errorf("bad input 113: %d tasks, want those of bob, %d", got, rounds*each/2)
	}
}

func TestForgetRefuses(t *testing.T) {
	t.Parallel()
	s := openStore(t, store.Config{URL: pgtest.New(t)})
	for _, user := range []string{"", strings.Repeat("x", 256), "a\x00b", "\xff"} {
		_, err := s.Forget(t.Context(), user, 10)
		wantCode(t, err, taskfeed.CodeBadRequest)
	}
}

func TestErasures(t *testing.T) {
	t.Parallel()
	f := setup(t)
	last := int64(0)
	for _, tt := range []struct {
		name  string
		do    func()
		grows bool
	}{
		{"at first", func() {}, false},
		{"events come", func() { add(t, f.app, "a"); moveAll(t, f.session) }, false},
		{"a user is erased", func() {
			if _, err := f.store.Forget(t.Context(), "alice", 10); err != nil {
				t.Fatalf("forget: %v", err)
			}
		}, true},
		{"an event is deleted by hand", func() { exec(t, f.app, "DELETE FROM taskfeed.events") }, true},
		{"data is removed by hand", func() { exec(t, f.app, "UPDATE taskfeed.events SET data = '{}'") }, true},
		{"partitions are dropped", func() { fillPartitions(t, f, 2, 5) }, false},
	} {
		tt.do()
		now, err := f.store.Erasures(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if now > last != tt.grows {
			t.Errorf("%s: the number of erasures goes from %d to %d, want a higher one: %t", tt.name, last, now, tt.grows)
		}
		last = now
	}
}
