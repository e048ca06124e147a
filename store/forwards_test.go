package store_test

import (
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store"
)

const longLease = time.Hour

// taken asks for a forward named crm.
func (f *fixture) taken(t *testing.T, holder string, start taskfeed.Cursor, lease time.Duration) (taskfeed.Cursor, bool) {
	t.Helper()
	cursor, taken, err := f.store.TakeForward(t.Context(), "crm", holder, start, lease)
	if err != nil {
		t.Fatalf("%s takes the forward: %v", holder, err)
	}
	return cursor, taken
}

// One process at a time holds a forward. What it left is there for the next.
func TestForwardHasOneHolder(t *testing.T) {
	t.Parallel()
	f := setup(t)
	if cursor, taken := f.taken(t, "a", 7, longLease); !taken || cursor != 7 {
		t.Fatalf("a new forward: got %s, %t, want 7 and to hold it", cursor, taken)
	}
	if _, taken := f.taken(t, "b", 9, longLease); taken {
		t.Fatal("b holds the forward beside a, want one holder")
	}
	if _, taken := f.taken(t, "a", 9, longLease); !taken {
		t.Error("a does not hold what it holds")
	}
	f.moves(t, "a", 12, true)
	f.moves(t, "a", 11, true) // never back
	f.moves(t, "b", 99, false)
	if err := f.store.ReleaseForward(t.Context(), "crm", "b"); err != nil { // not its own
		t.Fatal(err)
	}
	if _, taken := f.taken(t, "b", 9, longLease); taken {
		t.Error("b has released the forward of a")
	}
	if err := f.store.ReleaseForward(t.Context(), "crm", "a"); err != nil {
		t.Fatal(err)
	}
	if cursor, taken := f.taken(t, "b", 9, time.Microsecond); !taken || cursor != 12 {
		t.Errorf("after a has released it: got %s, %t, want 12 and to hold it", cursor, taken)
	}
	if cursor, taken := f.taken(t, "c", 9, longLease); !taken || cursor != 12 {
		t.Errorf("after the lease of b: got %s, %t, want 12 and to hold it", cursor, taken)
	}
	f.moves(t, "b", 99, false)
	if held, err := f.store.AddForwardFailure(t.Context(), "crm", "b", store.ForwardFailure{EventID: 1, Type: "x", Body: "{}"}); held || err != nil {
		t.Errorf("b adds a failure: got %t, %v, want to be refused", held, err)
	}
	if got := value[int64](t, f.app, "SELECT lost FROM taskfeed.forwards"); got != 2 {
		t.Errorf("lost ids: got %d, want 2", got)
	}
}

// moves moves the cursor of crm, each time with one lost id.
func (f *fixture) moves(t *testing.T, holder string, to taskfeed.Cursor, want bool) {
	t.Helper()
	if held, err := f.store.MoveForward(t.Context(), "crm", holder, to, 1, longLease); held != want || err != nil {
		t.Errorf("%s moves the cursor to %s: got %t, %v, want %t", holder, to, held, err, want)
	}
}

func TestForwardFailures(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.taken(t, "a", 0, longLease)
	for _, failure := range []store.ForwardFailure{
		{EventID: 5, UserID: "alice", Type: "task_failed", Body: `{"a": 1}`, Tries: 3, Reason: "500"},
		{EventID: 4, Type: "news", Body: `{}`, Tries: 2, Reason: "time-out"},
		{EventID: 5, UserID: "alice", Type: "task_failed", Body: `{"a": 1}`, Tries: 3, Reason: "501"}, // after a restart
	} {
		if held, err := f.store.AddForwardFailure(t.Context(), "crm", "a", failure); !held || err != nil {
			t.Fatalf("add %v: got %t, %v", failure, held, err)
		}
	}
	if err := f.store.RetriedForwardFailure(t.Context(), "crm", 4, "502"); err != nil {
		t.Fatal(err)
	}
	f.wantFailures(t, 0, store.ForwardFailure{EventID: 4, Type: "news", Body: `{}`, Tries: 3, Reason: "502"},
		store.ForwardFailure{EventID: 5, UserID: "alice", Type: "task_failed", Body: `{"a": 1}`, Tries: 6, Reason: "501"})
	if err := f.store.DropForwardFailure(t.Context(), "crm", 4); err != nil {
		t.Fatal(err)
	}
	f.wantFailures(t, 0, store.ForwardFailure{EventID: 5, UserID: "alice", Type: "task_failed", Body: `{"a": 1}`, Tries: 6, Reason: "501"})
	f.wantFailures(t, 5)
	if forgotten, err := f.store.Forget(t.Context(), "alice", 10); err != nil || forgotten.Failures != 1 {
		t.Errorf("forget: got %+v, %v, want one failure", forgotten, err)
	}
	f.wantFailures(t, 0)
}

func (f *fixture) wantFailures(t *testing.T, after taskfeed.Cursor, want ...store.ForwardFailure) {
	t.Helper()
	got, err := f.store.ForwardFailures(t.Context(), "crm", after, 10)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i].FailedAt = time.Time{}
	}
	wantEqual(t, "failures", got, want)
}

// A forward is deleted with its failures, but not while a process holds it.
func TestDeleteForward(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.taken(t, "a", 7, longLease)
	if held, err := f.store.AddForwardFailure(t.Context(), "crm", "a", store.ForwardFailure{EventID: 1, Type: "x", Body: "{}"}); !held || err != nil {
		t.Fatalf("add a failure: got %t, %v, want to hold the forward", held, err)
	}
	deletes := func(want store.DeletedForward) {
		t.Helper()
		if got, err := f.store.DeleteForward(t.Context(), "crm"); got != want || err != nil {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	deletes(store.DeletedForward{Held: true})
	if err := f.store.ReleaseForward(t.Context(), "crm", "a"); err != nil {
		t.Fatal(err)
	}
	deletes(store.DeletedForward{Forwards: 1, Failures: 1})
	deletes(store.DeletedForward{})
}

// The figures say how far behind a forward is, whether a process works on it, and how many
// failures it has.
func TestForwardFigures(t *testing.T) {
	t.Parallel()
	f := setup(t)
	figure := func() store.ForwardFigure {
		t.Helper()
		all, err := f.store.ForwardFigures(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatalf("got %v, %v, want one forward", all, err)
		}
		return all[0]
	}
	f.taken(t, "a", 7, longLease)
	if got, want := figure(), (store.ForwardFigure{Name: "crm", Works: true}); got != want {
		t.Errorf("a new forward: got %+v, want %+v", got, want)
	}
	if _, err := f.app.Exec(t.Context(), `INSERT INTO taskfeed.events (id, user_id, type, data, created_at) VALUES (8, 'alice', 'x', '{}', now() - interval '1 hour'), (9, 'alice', 'x', '{}', now())`); err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.AddForwardFailure(t.Context(), "crm", "a", store.ForwardFailure{EventID: 1, Type: "x", Body: "{}"}); err != nil {
		t.Fatal(err)
	}
	if err := f.store.ReleaseForward(t.Context(), "crm", "a"); err != nil {
		t.Fatal(err)
	}
	if got := figure(); got.Works || got.Failures != 1 || got.Behind < time.Hour || got.Behind > 2*time.Hour {
		t.Errorf("a forward without a process: got %+v, want one failure, and to be an hour behind", got)
	}
}
