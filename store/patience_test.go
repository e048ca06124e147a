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

// A leader whose time for a statement was shorter than a backlog takes to put in
// order lost its session in each first look, and so did every leader after it. As
// long as the database works at a statement, the session waits and says so.
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
