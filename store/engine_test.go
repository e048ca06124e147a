package store_test

import (
	"testing"

	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store"
)

// A session sees whether others reach the engine, not whether it does itself, and does
// not believe those that are no servers. What a session told ends with it.
func TestTellEngine(t *testing.T) {
	t.Parallel()
	f := setup(t)
	one, two := openSession(t, f.store), openSession(t, f.store)
	tell := func(s *store.Session, reached bool) {
		t.Helper()
		if err := s.TellEngine(t.Context(), reached); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string, s *store.Session, want bool) {
		t.Helper()
		if seen, err := s.CheckLocks(t.Context()); err != nil || seen.Engine != want {
			t.Errorf("%s: another server reaches the engine: %t (%v), want %t", when, seen.Engine, err, want)
		}
	}
	check("at first", one, false)
	tell(one, true)
	tell(one, true)
	check("the one told it", one, false)
	check("the one told it, as the other sees it", two, true)
	tell(two, true)
	check("both told it", one, true)
	tell(one, false)
	tell(one, false)
	check("the one took it back", two, false)
	check("the one took it back, as it sees the other", one, true)
	two.Close()
	check("the other has gone", one, false)

	stranger := pgtest.Connect(t, urlOf(t, f.url, newStranger(t, f), ""))
	exec(t, stranger, "SET application_name = 'taskfeed listener'")
	exec(t, stranger, "SELECT pg_advisory_lock_shared(1952543595, 5)")
	check("a stranger has the lock", one, false)
}

// A stranger that keeps the lock for itself delays nobody.
func TestTellEngineDoesNotWait(t *testing.T) {
	t.Parallel()
	f := setup(t)
	stranger := pgtest.Connect(t, f.url)
	exec(t, stranger, "SELECT pg_advisory_lock(1952543595, 5)")
	for range 2 {
		if err := f.session.TellEngine(t.Context(), true); err != nil {
			t.Fatalf("while a stranger has the lock: %v, want no error", err)
		}
	}
	exec(t, stranger, "SELECT pg_advisory_unlock(1952543595, 5)")
	if err := f.session.TellEngine(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if !value[bool](t, f.app, "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND (classid, objid) = (1952543595, 5) AND mode = 'ShareLock' AND granted)") {
		t.Error("it does not share the lock, want it to try again")
	}
}
