package migrations_test

import "testing"

func TestReceiveRights(t *testing.T) {
	t.Parallel()
	app, owner := newApp(t)
	owner.exec(`INSERT INTO taskfeed.inbox (id, user_id, ref, topic, data) VALUES (1, 'alice', 'r', 'cancel', '{}'), (2, 'alice', 's', 'other', '{}')`)
	for _, sql := range []string{`SELECT count(*) FROM taskfeed.inbox`, `DELETE FROM taskfeed.inbox`, `SELECT count(*) FROM taskfeed.inbox_refs`} {
		app.refused("42501", sql)
	}
	for _, args := range []string{`'cancel', 0`, `NULL, 10001`, `'cancel', NULL`} {
		app.refused("22023", `SELECT taskfeed.receive(`+args+`)`)
	}
	if got, want := one[string](app, `SELECT concat_ws(' ', id, user_id, ref, topic, task_id, data) FROM taskfeed.receive('cancel', 10)`), `1 alice r cancel {}`; got != want {
		t.Errorf("received %q, want %q", got, want)
	}
	if got := one[int](app, `SELECT count(*) FROM taskfeed.receive()`); got != 1 {
		t.Errorf("received %d of any topic, want 1", got)
	}
	stranger := owner.another()
	stranger.exec(`SET SESSION AUTHORIZATION ` + owner.newRole(t, "stranger"))
	stranger.refused("42501", `SELECT taskfeed.receive()`)
}
