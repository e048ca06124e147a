package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/store"
)

// tellStalled tells of all tasks that stall for an hour and returns whose.
func tellStalled(t *testing.T, f *fixture, s *store.Session) (told []string) {
	t.Helper()
	before := value[int64](t, f.app, "SELECT coalesce(max(id), 0) FROM taskfeed.events")
	for more := true; more; {
		var err error
		if _, more, err = s.TellStalled(t.Context(), time.Hour); err != nil {
			t.Fatalf("tell of stalled tasks: %v", err)
		}
	}
	moveAll(t, s)
	rows, _ := f.app.Query(t.Context(), `
		SELECT user_id || ' ' || task_id || ' ' || version || ' ' || (data - 'since') FROM taskfeed.events WHERE id > $1 AND type = 'task_stalled' ORDER BY id`, before)
	told, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("read what was told: %v", err)
	}
	return told
}

// old makes the last change of all running tasks so old.
const old = `
SET session_replication_role = replica;
UPDATE taskfeed.tasks SET updated_at = now() - interval '3 hours', updated_hour = date_bin('1 hour', now() - interval '3 hours', '0001-01-01 00:00:00+00') WHERE status = 'running';
RESET session_replication_role`

// A task that runs and does not change is told once, and again only after it has changed.
func TestStalledTasks(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, `INSERT INTO taskfeed.tasks (id, user_id, kind, status, progress, updated_at) VALUES
		('a', 'alice', 'export', 'running', 40, now() - interval '90 minutes'), ('b', 'bob', NULL, 'running', 0, now() - interval '5 hours'),
		('young', 'alice', NULL, 'running', 0, now() - interval '59 minutes'), ('waits', 'alice', NULL, 'queued', 0, now() - interval '5 hours'),
		('ended', 'alice', NULL, 'completed', 100, now() - interval '5 hours')`)
	moveAll(t, f.session)
	both := []string{`bob b 1 {"progress": 0}`, `alice a 1 {"kind": "export", "progress": 40}`}
	if got := tellStalled(t, f, f.session); !slices.Equal(got, both) {
		t.Errorf("told %q, want %q", got, both)
	}
	if got := value[string](t, f.app, `SELECT data->>'since' FROM taskfeed.events WHERE type = 'task_stalled' AND task_id = 'a'`); got !=
		value[time.Time](t, f.app, `SELECT updated_at FROM taskfeed.tasks WHERE id = 'a'`).UTC().Format("2006-01-02T15:04:05.000000Z") {
		t.Errorf("since: got %s, want the time of the last change", got)
	}
	exec(t, f.app, `SELECT taskfeed.notify('alice', 'look', '{"task": "a"}')`)
	next := openSession(t, f.store) // knows nothing of what the other has seen
	for _, s := range []*store.Session{f.session, next} {
		if got := tellStalled(t, f, s); len(got) > 0 {
			t.Errorf("told again: %q", got)
		}
	}
	exec(t, f.app, `UPDATE taskfeed.tasks SET progress = 41 WHERE id = 'a'`)
	for _, sql := range []string{`DELETE FROM taskfeed.tasks WHERE id = 'young'`, old} {
		if _, err := f.app.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	if got, want := tellStalled(t, f, openSession(t, f.store)), []string{`alice a 2 {"kind": "export", "progress": 41}`}; !slices.Equal(got, want) {
		t.Errorf("after a change told %q, want %q", got, want)
	}
}

// Many tasks that stall are told page by page, each once.
func TestManyStalledTasks(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, `INSERT INTO taskfeed.tasks (id, user_id, status, updated_at)
		SELECT 't' || i, 'alice', 'running', now() - interval '2 hours' - i / 100 * interval '1 minute' FROM generate_series(1, 2500) AS i`)
	moveAll(t, f.session)
	if told, more, err := f.session.TellStalled(t.Context(), time.Hour); told != 1000 || !more || err != nil {
		t.Errorf("first page: %d, %t, %v; want 1000 and more", told, more, err)
	}
	moveAll(t, f.session)
	got := tellStalled(t, f, f.session)
	slices.Sort(got)
	if n := len(slices.Compact(got)); n != 1500 {
		t.Errorf("%d were told after the first page, want 1500", n)
	}
}

// All owners of a task are told.
func TestStalledTaskOfSeveralOwners(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, `INSERT INTO taskfeed.tasks (id, user_id, owners, status, updated_at) VALUES ('x', 'alice', '{alice,bob}', 'running', now() - interval '2 hours')`)
	moveAll(t, f.session)
	got := tellStalled(t, f, f.session)
	slices.Sort(got)
	if want := []string{`alice x 1 {"progress": 0}`, `bob x 1 {"progress": 0}`}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("told %q, want %q", got, want)
	}
}
