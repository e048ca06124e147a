package migrations_test

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/pgtest"
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

// What an app may add to a schema, and what changes with time, is no problem.
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

// drifts are the differences that a schema may have.
var drifts = []struct {
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
	{"bad input 72: another storage parameter", `ALTER TABLE taskfeed.changes RESET (vacuum_truncate)`, `note: storage parameters of table changes is not as taskfeed made it`},
	{"bad input 72: a missing table", `DROP TABLE taskfeed.log_state`, `problem: table log_state is missing`},
	{"bad input 72: a sequence with another end", `ALTER SEQUENCE taskfeed.event_id MAXVALUE 9223372036854775807`, `problem: sequence event_id is not as taskfeed made it`},
	{"bad input 72: a missing function", `DROP FUNCTION taskfeed.broadcast`, `problem: function taskfeed.broadcast(text,jsonb) is missing`},
	{"bad input 10: a trigger that changes what was captured", `CREATE TRIGGER zzz BEFORE INSERT OR UPDATE ON taskfeed.tasks FOR EACH ROW EXECUTE FUNCTION f()`,
		`problem: trigger zzz of table tasks fires after zz_taskfeed_capture_update`},
	{"a trigger that comes before", `CREATE TRIGGER "Mine" BEFORE UPDATE ON taskfeed.tasks FOR EACH ROW EXECUTE FUNCTION f()`, `note: trigger "Mine" of table tasks is not taskfeed's`},
	{"a trigger that comes last and changes nothing", `CREATE TRIGGER zzz_after AFTER UPDATE ON taskfeed.tasks FOR EACH ROW EXECUTE FUNCTION f()`, `note: trigger zzz_after of table tasks is not taskfeed's`},
	{"an index of the app's", `CREATE INDEX mine ON taskfeed.tasks (kind)`, `note: index mine of table tasks is not taskfeed's`},
	{"a column of the app's", `ALTER TABLE taskfeed.tasks ADD COLUMN priority int`, `note: column priority of table tasks is not taskfeed's`},
	{"a table of the app's", `CREATE TABLE taskfeed.other (id text)`, `note: table other is not taskfeed's`},
	{"bad input 154: an app's default", `ALTER TABLE taskfeed.tasks ALTER COLUMN status SET DEFAULT 'running'`, `note: column status of table tasks has a default of its own: it is "status text NOT NULL DEFAULT 'running'::text"`},
	{"bad input 154: an app's ids", `ALTER TABLE taskfeed.tasks ALTER COLUMN id SET DEFAULT md5(random()::text)`, `note: column id of table tasks has a default of its own`},
	{"bad input 154: a column without its default", `ALTER TABLE taskfeed.tasks ALTER COLUMN created_at DROP DEFAULT`, `note: column created_at of table tasks has a default of its own: it is "created_at timestamp with time zone NOT NULL"`},
	{"bad input 154: a default where there was none", `ALTER TABLE taskfeed.tasks ALTER COLUMN kind SET DEFAULT 'export'`, `note: column kind of table tasks has a default of its own`},
	{"bad input 72: another default", `ALTER TABLE taskfeed.tasks ALTER COLUMN version SET DEFAULT 7`, `problem: column version of table tasks is not as taskfeed made it: it is "version bigint NOT NULL DEFAULT 7"`},
	{"bad input 72: another collation and a default", `ALTER TABLE taskfeed.tasks ALTER COLUMN error TYPE text COLLATE "C", ALTER COLUMN error SET DEFAULT 'x'`, `problem: column error of table tasks is not as taskfeed made it`},
	{"bad input 72: a default with a time", `ALTER TABLE taskfeed.commands ALTER COLUMN created_at SET DEFAULT '2026-01-01 00:00:00+00'`, `problem: column created_at of table commands is not as taskfeed made it: it is "created_at timestamp with time zone NOT NULL DEFAULT '2026-01-01 00:00:00+00'`},
	{"bad input 72: no default", `ALTER TABLE taskfeed.tasks ALTER COLUMN updated_hour DROP DEFAULT`, `problem: column updated_hour of table tasks is not as taskfeed made it`},
	{"bad input 72: a column that may be null", `ALTER TABLE taskfeed.tasks ALTER COLUMN user_id DROP NOT NULL`, `problem: column user_id of table tasks is not`},
	{"bad input 72: another collation", `ALTER TABLE taskfeed.tasks ALTER COLUMN message TYPE text COLLATE "C"`, `problem: column message of table tasks is not as taskfeed made it: it is "message text COLLATE \"C\""`},
	{"bad input 72: a function whose body differs in one constant", `CREATE OR REPLACE FUNCTION taskfeed.hour_of(at timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE RETURN date_bin('2 hours', at, '0001-01-01 00:00:00+00')`,
		`problem: function taskfeed.hour_of(timestamp with time zone) is not as taskfeed made it`},
	{"bad input 72: a function whose brackets differ", `CREATE OR REPLACE FUNCTION taskfeed.must_ring() RETURNS boolean LANGUAGE sql
		RETURN NOT (current_setting('taskfeed.notify', true) IS DISTINCT FROM 'off' AND pg_try_advisory_xact_lock_shared(1952543595, 1))`, `problem: function taskfeed.must_ring() is not`},
	{"bad input 72: a function that no longer runs as its owner", `ALTER FUNCTION taskfeed.notify SECURITY INVOKER`, `problem: function taskfeed.notify(text,text,jsonb) is not`},
	{"bad input 72: a constraint of the same name", `ALTER TABLE taskfeed.commands DROP CONSTRAINT argument_is_1_to_255_bytes, ADD CONSTRAINT argument_is_1_to_255_bytes CHECK (octet_length(argument) > 0)`, `problem: constraint argument_is_1_to_255_bytes of table commands is not`},
	{"bad input 72: a table that a crash empties", `DROP TABLE taskfeed.app_roles; CREATE UNLOGGED TABLE taskfeed.app_roles (cluster bigint NOT NULL, role_oid oid NOT NULL, role text NOT NULL, foreign_keys boolean NOT NULL, CONSTRAINT app_roles_pkey PRIMARY KEY (cluster, role_oid))`, `problem: table app_roles is not as taskfeed made it: it is "UNLOGGED TABLE app_roles"`},
	{"a trigger of others on the log", `CREATE TRIGGER spy AFTER INSERT ON taskfeed.events_default FOR EACH ROW EXECUTE FUNCTION f()`, `problem: trigger spy of table events_default is not taskfeed's and runs when taskfeed writes`},
	{"a trigger of others on a partition", `CREATE TRIGGER spy AFTER INSERT ON taskfeed.events_0 FOR EACH ROW EXECUTE FUNCTION f()`, `problem: trigger spy of table events_0 is not taskfeed's`},
	{"a rule", `CREATE RULE lose AS ON INSERT TO taskfeed.changes DO INSTEAD NOTHING`, `problem: rule lose of table changes is not taskfeed's`},
	{"a constraint of others", `ALTER TABLE taskfeed.changes ADD CONSTRAINT short CHECK (length(user_id) < 9)`, `problem: constraint short of table changes is not taskfeed's`},
	{"a rule of the app's", `CREATE RULE soft AS ON DELETE TO taskfeed.tasks WHERE old.kind = 'kept' DO INSTEAD NOTHING`, `note: rule soft of table tasks is not taskfeed's`},
	{"an aggregate of the app's", `CREATE AGGREGATE taskfeed.total (bigint) (SFUNC = int8pl, STYPE = bigint)`, `note: function taskfeed.total(bigint) is not taskfeed's`},
	{"a view of the app's", `CREATE VIEW taskfeed.views AS SELECT id FROM taskfeed.tasks`, `note: view views is not taskfeed's`},
}

// All differences are found at once, and nothing else is reported.
func TestInspect(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	for _, c := range drifts {
		s.exec(c.do)
	}
	got := inspect(t, s.url)
	for _, c := range drifts {
		t.Run(c.name, func(t *testing.T) {
			if !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, c.want) }) {
				t.Errorf("found:\n%s\nwant a line that begins with %s", strings.Join(got, "\n"), c.want)
			}
		})
	}
	if len(got) != len(drifts) {
		t.Errorf("found %d lines:\n%s\nwant %d", len(got), strings.Join(got, "\n"), len(drifts))
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

// A role without the rights of a server is told what to run, by every function.
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
