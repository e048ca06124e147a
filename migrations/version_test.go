package migrations_test

import (
	"fmt"
	"strings"
	"testing"
)

// An ORM that locks by the version writes it as one more than it has read, and
// looks for that at its next save. After an update that no user can see the
// version was set back, so the next save failed.
func TestVersionAsAnOptimisticLock(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(`INSERT INTO taskfeed.tasks (id, user_id, version) VALUES ('t', 'alice', 0)`) // as some begin
	s.exec(`ALTER TABLE taskfeed.tasks ADD COLUMN note text`)
	s.captured()
	version := 0
	for _, c := range []struct {
		name, set string
		captured  []string
	}{
		{"a column of the app's", `note = 'a'`, nil},
		{"nothing", `kind = kind`, nil},
		{"progress", `progress = 5`, []string{`alice t task_progress 3 {"progress": 5}`}},
		{"a time of the app's", `created_at = created_at - interval '1 hour'`, nil},
		{"a long message", `message = repeat('x', 40001)`, []string{fmt.Sprintf(`alice t task_progress 5 {"message": "%s", "progress": 5}`, strings.Repeat("x", 40001))}},
		{"the status", `status = 'failed', message = NULL`, []string{`alice t task_failed 6 {"error": null, "progress": 5}`}},
		{"again nothing", `note = note`, nil},
		{"the owner", `user_id = 'bob'`, []string{`alice t task_deleted 8 {}`, `bob t task_failed 8 {"error": null, "progress": 5}`}},
	} {
		version++
		tag := s.exec(fmt.Sprintf(`UPDATE taskfeed.tasks SET %s, version = %d WHERE id = 't' AND version = %d`, c.set, version, version-1))
		if tag.RowsAffected() != 1 {
			t.Fatalf("bad input 112: %s: the save with version %d found no row", c.name, version)
		}
		if got := one[int](s, `SELECT version FROM taskfeed.tasks`); got != version {
			t.Fatalf("bad input 112: %s: version %d, want %d", c.name, got, version)
		}
		s.wantCaptured(c.captured...)
	}
}

// Whatever an app writes into the version, it grows by one with a visible change and
// stays with any other, and no value prevents a row from being written.
func TestVersionsThatAppsWrite(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	for _, v := range []string{`-1`, `-9223372036854775808`, `4503599627370497`, `9007199254740992`, `9223372036854775807`} {
		err := s.refused("23514", `INSERT INTO taskfeed.tasks (user_id, version) VALUES ('alice', `+v+`)`)
		if want := "version_begins_at_0_to_4503599627370496"; err.ConstraintName != want {
			t.Errorf("bad input 112: version %s: got constraint %q, want %q", v, err.ConstraintName, want)
		}
	}
	s.refused("23502", `INSERT INTO taskfeed.tasks (user_id, version) VALUES ('alice', NULL)`)
	for _, first := range []int64{0, 1, 4503599627370496} {
		s.exec(fmt.Sprintf(`INSERT INTO taskfeed.tasks (id, user_id, version) VALUES ('t', 'alice', %d)`, first))
		want := first
		for _, v := range []string{`NULL`, `-1`, `0`, `version`, `version - 1`, `version + 2`, `9223372036854775807`, `DEFAULT`} {
			s.exec(`UPDATE taskfeed.tasks SET progress = (progress + 1) % 100, version = ` + v)
			want++
			s.exec(`UPDATE taskfeed.tasks SET version = version + 2, kind = kind; UPDATE taskfeed.tasks SET version = NULL; UPDATE taskfeed.tasks SET version = 9007199254740991`)
			if got := one[int64](s, `SELECT version FROM taskfeed.tasks`); got != want {
				t.Errorf("bad input 112: begun at %d, set to %s: version %d, want %d", first, v, got, want)
			}
		}
		s.exec(`DELETE FROM taskfeed.tasks`)
		if got := one[int64](s, `SELECT version FROM taskfeed.changes ORDER BY id DESC LIMIT 1`); got != want+1 {
			t.Errorf("bad input 112: deleted at version %d, want %d", got, want+1)
		}
	}
}

// Bad input 112: a row of version 2^63-1 could never be updated or deleted. Such rows come in only
// while triggers are disabled.
func TestVersionAtItsEnd(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(`ALTER TABLE taskfeed.tasks DISABLE TRIGGER zz_taskfeed_check_insert;
		INSERT INTO taskfeed.tasks (id, user_id, version) VALUES ('a', 'alice', 9223372036854775807), ('b', 'bob', 9007199254740990), ('c', 'carol', -7);
		ALTER TABLE taskfeed.tasks ENABLE ALWAYS TRIGGER zz_taskfeed_check_insert`)
	s.captured()
	s.exec(`UPDATE taskfeed.tasks SET progress = 1; UPDATE taskfeed.tasks SET status = 'running' WHERE id <> 'c'; DELETE FROM taskfeed.tasks WHERE id <> 'c'`)
	s.wantCaptured(
		`alice a task_progress 9007199254740991 {"progress": 1}`, `bob b task_progress 9007199254740991 {"progress": 1}`, `carol c task_progress -6 {"progress": 1}`,
		`alice a task_started 9007199254740991 {"progress": 1}`, `bob b task_started 9007199254740991 {"progress": 1}`,
		`alice a task_deleted 9007199254740991 {}`, `bob b task_deleted 9007199254740991 {}`)
}
