package store_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store"
)

// slowDown makes each deletion of a change do something.
func slowDown(t *testing.T, f *fixture, does string) {
	t.Helper()
	exec(t, f.app, `CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN `+does+` RETURN old; END $$`)
	exec(t, f.app, `CREATE TRIGGER slow BEFORE DELETE ON taskfeed.changes FOR EACH ROW EXECUTE FUNCTION public.slow()`)
}

// A leader whose time for a statement was shorter than it takes to sort a backlog lost
// its session in the first look, and so did every leader after it. As long as the
// database works on a statement, the session waits and reports progress.
func TestPatience(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		does  string
		moves bool
	}{
		"the database works":               {"WHILE clock_timestamp() < statement_timestamp() + interval '5 s' LOOP END LOOP;", true},
		"it does nothing":                  {"PERFORM pg_sleep(60);", false},
		"it waits for somebody who sleeps": {"SET LOCAL lock_timeout = 0; PERFORM pg_advisory_xact_lock(7);", false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			exec(t, f.app, "SELECT pg_advisory_lock(7)")
			f.store = openStore(t, store.Config{URL: f.url, StallTimeout: 3 * time.Second})
			f.session = openSession(t, f.store)
			var signs atomic.Int64
			f.session.Watch(func() { signs.Add(1) })
			slowDown(t, f, c.does)
			add(t, f.app, "slow")
			m, err := f.session.Move(t.Context())
			if !c.moves {
				wantCode(t, err, taskfeed.CodeUnavailable)
				if !mention(err, "no sign of life") || signs.Load() > 0 || f.session.Alive() {
					t.Errorf("error %v after %d signs, session alive %t; want one about no sign of life, none, and false", err, signs.Load(), f.session.Alive())
				}
				return
			}
			if err != nil || m.Count != 1 || signs.Load() == 0 {
				t.Errorf("moved %d after %d signs of life (%v), want 1 after some", m.Count, signs.Load(), err)
			}
		})
	}
}

// A backend that was stopped in the middle of its work looks as if it worked: a leader
// waited ten minutes for it and no event arrived. It is given up after a few times the
// limit, in a backlog too, and the next session takes less at once, so that work which
// only takes long is done in the end.
func TestPatienceEnds(t *testing.T) {
	t.Parallel()
	for name, move := range map[string]func(*store.Session) error{
		"a look": func(s *store.Session) error {
			_, err := s.Move(t.Context())
			return err
		},
		"a backlog": func(s *store.Session) error {
			return s.MoveBacklog(t.Context(), func(taskfeed.Moved) error { return nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			f.store = openStore(t, store.Config{URL: f.url, StallTimeout: 3 * time.Second})
			f.session = openSession(t, f.store)
			var signs atomic.Int64
			f.session.Watch(func() { signs.Add(1) })
			slowDown(t, f, "WHILE clock_timestamp() < statement_timestamp() + interval '60 s' LOOP END LOOP;")
			add(t, f.app, "endless")
			before := f.session.PageSize()
			err := move(f.session)
			wantCode(t, err, taskfeed.CodeUnavailable)
			if !mention(err, "for too long, or was stopped") || signs.Load() == 0 || f.session.Alive() {
				t.Errorf("error %v after %d signs of life, session alive %t; want one about the time, some, and false", err, signs.Load(), f.session.Alive())
			}
			exec(t, f.app, "DROP TRIGGER slow ON taskfeed.changes")
			next := openSession(t, f.store)
			if got := next.PageSize(); got != before/2 {
				t.Errorf("the next session takes %d changes at once, want %d", got, before/2)
			}
			if m, err := next.Move(t.Context()); err != nil || m.Count != 1 {
				t.Errorf("the next session moved %d, error %v, want 1", m.Count, err)
			}
			if got := openSession(t, f.store).PageSize(); got != before {
				t.Errorf("a session after one that was well takes %d changes at once, want %d", got, before)
			}
		})
	}
}

// What takes longer than the time that a session has would be begun and given up by
// one session after the other, for ever: on an overloaded machine nobody heard
// anything for two minutes. Each next session waits twice as long.
func TestPatienceGrows(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.store = openStore(t, store.Config{URL: f.url, StallTimeout: 3 * time.Second})
	slowDown(t, f, "WHILE clock_timestamp() < statement_timestamp() + interval '3 s' LOOP END LOOP;")
	add(t, f.app, "slow")
	const most = 6
	for tries := 1; ; tries++ {
		session := openSession(t, f.store)
		session.SetTimeout(500 * time.Millisecond) // 1.5 s with signs of life
		_, err := session.Move(t.Context())
		switch left := value[int](t, f.app, "SELECT count(*) FROM taskfeed.changes"); {
		case left == 0 && tries > 1: // an error may come just after the move
			return
		case left == 0 || tries == most:
			t.Fatalf("after session %d (%v) %d changes are left; want that the first gives up and one of %d moves it", tries, err, left, most)
		}
		wantCode(t, err, taskfeed.CodeUnavailable)
	}
}
