package migrations_test

import (
	"fmt"
	"slices"
	"testing"
)

const sqlForget = `SELECT format('%s %s %s %s %s %s %s', tasks, events, changes, commands, marks, messages, failures) FROM taskfeed.forget($1)`

// wantForgotten looks for a name in every row of every table of ours.
func (s *session) wantForgotten(name string) {
	s.t.Helper()
	for _, table := range list[string](s, `SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'taskfeed'::regnamespace AND relkind IN ('r', 'p')`) {
		if n := one[int](s, fmt.Sprintf(`SELECT count(*) FROM %s AS t WHERE t::text LIKE '%%' || $1 || '%%'`, table), name); n != 0 {
			s.t.Errorf("bad input 113: %s still has %d rows that name the user", table, n)
		}
	}
}

// There was no way to erase a user, and a DELETE of the tasks wrote the name into the
// log again.
func TestForget(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(`
		INSERT INTO taskfeed.tasks (id, user_id) SELECT 't' || i, 'alice' FROM generate_series(1, 30) AS i;
		INSERT INTO taskfeed.tasks (id, user_id) VALUES ('b', 'bob'), ('given', 'alice');
		INSERT INTO taskfeed.events (id, user_id, type, data, created_at) SELECT i, 'alice', 'x', '{}', now() FROM generate_series(9999990, 10000020) AS i;
		INSERT INTO taskfeed.events (id, user_id, type, data, created_at) VALUES (1, 'bob', 'x', '{}', now()), (2, NULL, 'x', '{}', now());
		INSERT INTO taskfeed.commands (kind, argument) VALUES ('disconnect_user', 'alice'), ('disconnect_user', 'bob'), ('disconnect_connection', 'alice');
		DELETE FROM taskfeed.commands WHERE kind = 'disconnect_connection';
		INSERT INTO taskfeed.read_marks (user_id, through) VALUES ('alice', 1), ('bob', 2);
		INSERT INTO taskfeed.clients (user_id, name, through) VALUES ('alice', 'web', 1), ('alice', 'phone', 2), ('bob', 'web', 3);
		UPDATE taskfeed.tasks SET user_id = 'bob' WHERE id = 'given';
		INSERT INTO taskfeed.inbox_refs (user_id, ref, id, topic, digest) VALUES ('alice', 'received', 1, 'x', 0), ('alice', 'waits', 2, 'x', 0), ('bob', 'waits', 3, 'x', 0);
		INSERT INTO taskfeed.inbox (id, user_id, ref, topic, data) SELECT id, user_id, ref, topic, '{}' FROM taskfeed.inbox_refs WHERE ref = 'waits';
		INSERT INTO taskfeed.forward_failures (name, event_id, user_id, type, body, tries, reason) VALUES ('crm', 1, 'alice', 'x', '{}', 1, ''), ('crm', 2, 'bob', 'x', '{}', 1, ''), ('crm', 3, NULL, 'x', '{}', 1, '');
		SELECT taskfeed.notify('alice', 'hello')`)
	if got, want := list[string](s, sqlForget, "alice"), []string{"30 31 33 1 3 2 1"}; !slices.Equal(got, want) {
		t.Errorf("bad input 113: forgot (tasks, events, changes, commands, marks, messages, failures) %q, want %q", got, want)
	}
	s.wantForgotten("alice")
	if got, want := list[string](s, sqlForget, "alice"), []string{"0 0 0 0 0 0 0"}; !slices.Equal(got, want) {
		t.Errorf("bad input 113: again: forgot %q, want %q", got, want)
	}
	if got := one[string](s, `SELECT format('%s %s %s %s %s %s %s', (SELECT count(*) FROM taskfeed.tasks), (SELECT count(*) FROM taskfeed.events), (SELECT count(*) FROM taskfeed.commands), (SELECT count(*) FROM taskfeed.read_marks), (SELECT count(*) FROM taskfeed.clients), (SELECT count(*) FROM taskfeed.inbox), (SELECT count(*) FROM taskfeed.forward_failures))`); got != "2 2 1 1 1 1 2" {
		t.Errorf("bad input 113: of others there are (tasks, events, commands, marks, clients, messages, failures) %s, want 2 2 1 1 1 1 2", got)
	}
	s.wantCaptured(`bob b task_queued 1 {"progress": 0}`, `bob given task_queued 2 {"progress": 0}`)
}

func TestForgetInBatches(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(`INSERT INTO taskfeed.tasks (user_id) SELECT 'alice' FROM generate_series(1, 25) AS i;
		INSERT INTO taskfeed.events (id, user_id, type, data, created_at) SELECT i, 'alice', 'x', '{}', now() FROM generate_series(1, 45) AS i`)
	var got []string
	for range 6 {
		got = append(got, one[string](s, `SELECT format('%s %s', tasks, events) FROM taskfeed.forget(user_id => 'alice', at_most => 10)`))
	}
	if want := []string{"10 10", "10 10", "5 10", "0 10", "0 5", "0 0"}; !slices.Equal(got, want) {
		t.Errorf("bad input 113: forgot (tasks, events) %q, want %q", got, want)
	}
	s.wantForgotten("alice")
}

func TestForgetRefusals(t *testing.T) {
	t.Parallel()
	app, _ := newApp(t)
	app.refused("42501", `SELECT taskfeed.forget('alice')`)
	s := newSession(t)
	for _, args := range []string{`NULL`, `''`, `repeat('x', 256)`, `'alice', 0`, `'alice', -1`} {
		s.refused("22023", `SELECT taskfeed.forget(`+args+`)`)
	}
	if got := one[string](s, sqlForget, `'; DROP TABLE taskfeed.tasks; --`); got != "0 0 0 0 0 0 0" {
		t.Errorf("bad input 113: a user who is not there: forgot %s, want nothing", got)
	}
}
