package migrations_test

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/internal/pgtest"
	"github.com/taskfeed/taskfeed/migrations"
)

// inspect returns what is found in a database, a line each.
func inspect(t *testing.T, url string) []string {
	t.Helper()
	found, err := migrations.Inspect(t.Context(), url)
	if err != nil {
		t.Fatalf("inspect: %v", err)
	}
	var lines []string
	for _, f := range found {
		lines = append(lines, f.String())
	}
	return lines
}

// What an app or time may do to a schema is no problem.
func TestInspectFindsNothing(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(`
		CREATE TABLE taskfeed.events_10000000 PARTITION OF taskfeed.events FOR VALUES FROM (10000000) TO (20000000);
		DROP TABLE taskfeed.events_0;
		COMMENT ON TABLE taskfeed.tasks IS 'ours';
		COMMENT ON FUNCTION taskfeed.must_ring() IS NULL;
		COMMENT ON TRIGGER zz_taskfeed_check_insert ON taskfeed.tasks IS 'x';
		ALTER TABLE taskfeed.tasks ENABLE ALWAYS TRIGGER zz_taskfeed_capture_update`)
	s.exec(`DO $$ BEGIN PERFORM taskfeed.grant_app('` + s.newRole(t, "app") + `'); END $$`)
	if got := inspect(t, s.url); len(got) > 0 {
		t.Errorf("found:\n%s\nwant nothing", strings.Join(got, "\n"))
	}
}

// Everything that is wrong at once is found, and nothing else.
func TestInspect(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	cases := []struct {
		name string
		do   string
		want string // the beginning of a line
	}{
		{"bad input 10: a disabled trigger", `ALTER TABLE taskfeed.tasks DISABLE TRIGGER zz_taskfeed_capture_update`,
			`problem: trigger zz_taskfeed_capture_update of table tasks is not as taskfeed made it: it is "CREATE TRIGGER zz_taskfeed_capture_update BEFORE UPDATE ON taskfeed.tasks FOR EACH ROW EXECUTE FUNCTION taskfeed.capture_update() DISABLED"`},
		{"bad input 10: a trigger for replicas", `ALTER TABLE taskfeed.tasks ENABLE REPLICA TRIGGER zz_taskfeed_check_insert`, `problem: trigger zz_taskfeed_check_insert of table tasks is not`},
		{"bad input 10: a dropped trigger", `DROP TRIGGER aa_taskfeed_capture_delete ON taskfeed.tasks`, `problem: trigger aa_taskfeed_capture_delete of table tasks is missing: CREATE TRIGGER`},
		{"bad input 10: a replaced trigger", `CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
			CREATE OR REPLACE TRIGGER aa_taskfeed_capture_insert AFTER INSERT ON taskfeed.tasks FOR EACH ROW EXECUTE FUNCTION f()`,
			`problem: trigger aa_taskfeed_capture_insert of table tasks is not as taskfeed made it`},
		{"bad input 10: a replaced function", `CREATE OR REPLACE FUNCTION taskfeed.capture_insert() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`,
			`problem: function taskfeed.capture_insert() is not as taskfeed made it`},
		{"bad input 10: a function without its fixed search_path", `ALTER FUNCTION taskfeed.capture_delete() RESET ALL`, `problem: function taskfeed.capture_delete() is not`},
		{"bad input 72: a missing index", `DROP INDEX taskfeed.tasks_status_updated_hour`, `problem: index tasks_status_updated_hour of table tasks is missing: CREATE INDEX tasks_status_updated_hour ON`},
		{"bad input 72: an index of other columns", `DROP INDEX taskfeed.tasks_updated_hour; CREATE INDEX tasks_updated_hour ON taskfeed.tasks (kind)`, `problem: index tasks_updated_hour of table tasks is not`},
		{"bad input 72: an index that is not valid", `UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'taskfeed.changes_xid'::regclass`, `problem: index changes_xid of table changes is not`},
		{"bad input 72: a missing constraint", `ALTER TABLE taskfeed.commands DROP CONSTRAINT kind_is_known`, `problem: constraint kind_is_known of table commands is missing`},
		{"bad input 72: a column of another type", `ALTER TABLE taskfeed.tasks ALTER COLUMN progress TYPE integer`,
			`problem: column progress of table tasks is not as taskfeed made it: it is "progress integer NOT NULL DEFAULT 0"`},
		{"bad input 72: another storage parameter", `ALTER TABLE taskfeed.changes RESET (vacuum_truncate)`, `note: table changes is not as taskfeed made it`},
		{"bad input 72: a missing table", `DROP TABLE taskfeed.log_state`, `problem: table log_state is missing`},
		{"bad input 72: a sequence with another end", `ALTER SEQUENCE taskfeed.event_id MAXVALUE 9223372036854775807`, `problem: sequence event_id is not as taskfeed made it`},
		{"bad input 72: a missing function", `DROP FUNCTION taskfeed.broadcast`, `problem: function taskfeed.broadcast(type text, data jsonb DEFAULT '{}'::jsonb) is missing`},
		{"bad input 6: a function that everybody may call", `GRANT EXECUTE ON FUNCTION taskfeed.publish TO PUBLIC`, `problem: function taskfeed.publish(recipient text, type text, data jsonb) may be called by PUBLIC`},
		{"bad input 6: one for apps that everybody may call", `GRANT EXECUTE ON FUNCTION taskfeed.notify TO PUBLIC`, `problem: function taskfeed.notify(user_id text`},
		{"bad input 7: everybody may forge events", `GRANT INSERT ON taskfeed.events TO PUBLIC`, `problem: INSERT of table events is granted to PUBLIC`},
		{"bad input 7: everybody may read tasks", `GRANT SELECT ON taskfeed.tasks TO PUBLIC`, `problem: SELECT of table tasks is granted to PUBLIC`},
		{"everybody may read events", `GRANT SELECT ON taskfeed.events TO PUBLIC`, `note: SELECT of table events is granted to PUBLIC`},
		{"bad input 10: a trigger that changes what was captured", `CREATE TRIGGER zzz BEFORE INSERT OR UPDATE ON taskfeed.tasks FOR EACH ROW EXECUTE FUNCTION f()`,
			`problem: trigger zzz of table tasks fires after zz_taskfeed_capture_update`},
		{"a trigger that comes before", `CREATE TRIGGER "Mine" BEFORE UPDATE ON taskfeed.tasks FOR EACH ROW EXECUTE FUNCTION f()`, `note: trigger "Mine" of table tasks is not taskfeed's`},
		{"a trigger that comes last and changes nothing", `CREATE TRIGGER zzz_after AFTER UPDATE ON taskfeed.tasks FOR EACH ROW EXECUTE FUNCTION f()`, `note: trigger zzz_after of table tasks is not taskfeed's`},
		{"an index of the app's", `CREATE INDEX mine ON taskfeed.tasks (kind)`, `note: index mine of table tasks is not taskfeed's`},
		{"a column of the app's", `ALTER TABLE taskfeed.tasks ADD COLUMN priority int`, `note: column priority of table tasks is not taskfeed's`},
		{"a table of the app's", `CREATE TABLE taskfeed.other (id text)`, `note: table other is not taskfeed's`},
	}
	for _, c := range cases {
		s.exec(c.do)
	}
	got := inspect(t, s.url)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, c.want) }) {
				t.Errorf("found:\n%s\nwant a line that begins with %s", strings.Join(got, "\n"), c.want)
			}
		})
	}
	if len(got) != len(cases) {
		t.Errorf("found %d lines:\n%s\nwant %d", len(got), strings.Join(got, "\n"), len(cases))
	}
}

func TestInspectOtherVersions(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	for _, c := range []struct{ name, do, want string }{
		{"bad input 72: a newer schema", `INSERT INTO taskfeed.schema_version (version_id, is_applied) VALUES (9999, true)`, "version 9999, this binary knows %d: install a newer taskfeed"},
		{"bad input 72: an older schema", `DELETE FROM taskfeed.schema_version WHERE version_id > 3`, "version 3, this binary knows %d: run taskfeed migrate up"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.exec(c.do)
			want := []string{"problem: the database has schema " + fmt.Sprintf(c.want, newest(t))}
			if got := inspect(t, s.url); !slices.Equal(got, want) {
				t.Errorf("found %q, want %q", got, want)
			}
		})
	}
}

func TestInspectAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	want := fmt.Sprintf("problem: the database has schema version 0, this binary knows %d: run taskfeed migrate up", newest(t))
	if got := inspect(t, pgtest.Empty(t)); !slices.Equal(got, []string{want}) {
		t.Errorf("found %q, want %q", got, want)
	}
}

// A role that may not serve is told what to run, by everything that it can call.
func TestRoleWithoutRights(t *testing.T) {
	t.Parallel()
	owner := newSession(t)
	role := owner.newRole(t, `some one`)
	owner.exec(`ALTER ROLE ` + role + ` LOGIN PASSWORD 'secret'`)
	stranger, err := url.Parse(owner.url)
	if err != nil {
		t.Fatal(err)
	}
	stranger.User = url.UserPassword(strings.Trim(role, `"`), "secret")
	who := one[string](owner, `SELECT current_user::text`)
	want := "run GRANT " + who + " TO " + role

	_, err = migrations.Read(t.Context(), stranger.String())
	if e, ok := errors.AsType[*migrations.RoleError](err); !ok || !strings.Contains(e.Error(), want) {
		t.Errorf("bad input 13: read: got %v, want a RoleError that says %q", err, want)
	}
	if err := migrations.Up(t.Context(), stranger.String()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("bad input 13: up: got %v, want an error that says %q", err, want)
	}
	if got := inspect(t, stranger.String()); len(got) != 1 || !strings.Contains(got[0], want) {
		t.Errorf("bad input 13: inspect: found %q, want one line that says %q", got, want)
	}
	owner.exec(`GRANT ` + who + ` TO ` + role)
	if got := inspect(t, stranger.String()); len(got) != 0 {
		t.Errorf("bad input 13: after the GRANT: found %q, want nothing", got)
	}
}
