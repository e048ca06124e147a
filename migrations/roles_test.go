package migrations_test

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
)

var roleNumber atomic.Int64

// newRole makes a role that is dropped with all its grants when the test ends.
// Roles belong to the server, so its name is this test's alone.
func (s *session) newRole(t *testing.T, name string) string {
	t.Helper()
	name = pgx.Identifier{fmt.Sprintf("%s %d %d", name, os.Getpid(), roleNumber.Add(1))}.Sanitize()
	s.exec(`CREATE ROLE ` + name)
	t.Cleanup(func() {
		if _, err := s.conn.Exec(context.WithoutCancel(t.Context()), `RESET ROLE; DROP OWNED BY `+name+`; DROP ROLE `+name); err != nil {
			t.Errorf("drop role: %v", err)
		}
	})
	return name
}

// newApp returns a session of a role with the documented grants and a schema of
// its own, and one of the schema's owner.
func newApp(t *testing.T) (app, owner *session) {
	t.Helper()
	owner = newSession(t)
	role := owner.newRole(t, `App "x"`) // bad input 75: a name that must be quoted
	owner.exec(`DO $$ BEGIN PERFORM taskfeed.grant_app('` + role + `'); END $$; CREATE SCHEMA app AUTHORIZATION ` + role)
	app = owner.another()
	app.exec(`SET SESSION AUTHORIZATION ` + role)
	return app, owner
}

func TestAppRoleDoesWhatAnAppDoes(t *testing.T) {
	t.Parallel()
	app, owner := newApp(t)
	owner.exec(`LISTEN taskfeed;` + sqlArm)
	app.exec(`
		INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice');
		UPDATE taskfeed.tasks SET progress = 40;
		UPDATE taskfeed.tasks SET status = 'completed', result = to_jsonb(repeat('x', 300000));
		UPDATE taskfeed.tasks SET result = NULL, user_id = 'bob';
		SELECT taskfeed.notify('alice', 'hello');
		SELECT taskfeed.broadcast('hello');
		DELETE FROM taskfeed.tasks`)
	if got := one[int](app, `SELECT count(*) FROM taskfeed.tasks`); got != 0 {
		t.Errorf("%d tasks left, want 0", got)
	}
	owner.wantCaptured(`alice t task_queued 1 {"progress": 0}`, `alice t task_progress 2 {"progress": 40}`,
		`alice t task_completed 3 {"result": null, "progress": 40, "truncated": ["result"]}`,
		`alice t task_deleted 4 {}`, `bob t task_completed 4 {"result": null, "progress": 40}`,
		`alice hello {}`, `* hello {}`, `bob t task_deleted 5 {}`)
	if got := owner.rings(); got != 1 {
		t.Errorf("rang %d times, want once", got)
	}
}

func TestAppRoleDoesNothingElse(t *testing.T) {
	t.Parallel()
	app, owner := newApp(t)
	app.exec(`CREATE TABLE app.mine (id text PRIMARY KEY, version bigint, status text)`)
	for _, c := range []struct{ name, do string }{
		{"bad input 7: read events", `SELECT id FROM taskfeed.events`},
		{"bad input 7: read a partition of events", `SELECT id FROM taskfeed.events_0`},
		{"bad input 7: forge an event", `INSERT INTO taskfeed.events (id, type, data, created_at) VALUES (1, 'x', '{}', now())`},
		{"bad input 7: forge an event in a partition", `INSERT INTO taskfeed.events_default (id, type, data, created_at) VALUES (1, 'x', '{}', now())`},
		{"bad input 7: delete events", `DELETE FROM taskfeed.events`},
		{"bad input 7: change events", `UPDATE taskfeed.events SET type = 'x'`},
		{"bad input 7: truncate events", `TRUNCATE taskfeed.events`},
		{"bad input 7: become the owner", `SET ROLE postgres`},
		{"read changes", `SELECT id FROM taskfeed.changes`},
		{"forge a change", `INSERT INTO taskfeed.changes (type, data) VALUES ('task_deleted', '{}')`},
		{"delete changes", `DELETE FROM taskfeed.changes`},
		{"read the state of the log", `SELECT expired_through FROM taskfeed.log_state`},
		{"change the state of the log", `UPDATE taskfeed.log_state SET expired_through = 1`},
		{"read the schema's version", `SELECT version_id FROM taskfeed.schema_version`},
		{"read the roles of apps", `SELECT role FROM taskfeed.app_roles`},
		{"make itself an app", `INSERT INTO taskfeed.app_roles (role) VALUES ('x')`},
		{"bad input 6: call restrict_rights", `SELECT taskfeed.restrict_rights()`},
		{"truncate tasks", `TRUNCATE taskfeed.tasks`},
		{"switch the triggers off", `ALTER TABLE taskfeed.tasks DISABLE TRIGGER USER`},
		{"switch the triggers off for its session", `SET session_replication_role = replica`},
		{"replace a function", `CREATE OR REPLACE FUNCTION taskfeed.must_ring() RETURNS boolean LANGUAGE sql RETURN true`},
		{"make a table in our schema", `CREATE TABLE taskfeed.mine (id text)`},
		{"set the sequence of events", `SELECT setval('taskfeed.event_id', 1)`},
		{"draw from the sequence of events", `SELECT nextval('taskfeed.event_id')`},
		{"draw from the sequence of changes", `SELECT nextval('taskfeed.changes_id_seq')`},
		{"bad input 6: call publish", `SELECT taskfeed.publish('alice', 'x', '{}')`},
		{"bad input 6: call grant_app", `SELECT taskfeed.grant_app(current_user::regrole)`},
		{"bad input 6: call must_ring", `SELECT taskfeed.must_ring()`},
		{"bad input 6: call task_data", `SELECT taskfeed.task_data('queued', NULL, 0::smallint, NULL, NULL, NULL)`},
		{"bad input 6: call fit_data", `SELECT taskfeed.fit_data('queued', NULL, 0::smallint, NULL, NULL, NULL)`},
		{"bad input 6: call a trigger function", `SELECT taskfeed.capture_insert()`},
		{"bad input 6: attach capture_insert to its own table", `CREATE TRIGGER forge AFTER INSERT ON app.mine FOR EACH ROW EXECUTE FUNCTION taskfeed.capture_insert()`},
		{"bad input 6: attach capture_update to its own table", `CREATE TRIGGER forge BEFORE UPDATE ON app.mine FOR EACH ROW EXECUTE FUNCTION taskfeed.capture_update()`},
		{"bad input 6: attach capture_delete to its own table", `CREATE TRIGGER forge AFTER DELETE ON app.mine REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION taskfeed.capture_delete()`},
		{"bad input 6: attach check_insert to its own table", `CREATE TRIGGER forge BEFORE INSERT ON app.mine FOR EACH ROW EXECUTE FUNCTION taskfeed.check_insert()`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := *app
			s.t = t
			s.refused("42501", c.do)
		})
	}

	// Whatever is added later: nothing but these may be open to the role.
	const sqlOpen = `
		SELECT format('%s %s', p.privilege, o.name)
		FROM (
			SELECT oid, oid::regclass::text AS name, 'table' AS kind FROM pg_class WHERE relnamespace = 'taskfeed'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
			UNION ALL
			SELECT oid, oid::regclass::text, 'sequence' FROM pg_class WHERE relnamespace = 'taskfeed'::regnamespace AND relkind = 'S'
			UNION ALL
			SELECT oid, oid::regproc::text, 'function' FROM pg_proc WHERE pronamespace = 'taskfeed'::regnamespace
		) AS o
		CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER', 'USAGE', 'EXECUTE']) AS p (privilege)
		WHERE CASE
			WHEN o.kind = 'table' AND p.privilege NOT IN ('USAGE', 'EXECUTE') THEN has_table_privilege($1::name, o.oid, p.privilege)
			WHEN o.kind = 'sequence' AND p.privilege IN ('USAGE', 'SELECT', 'UPDATE') THEN has_sequence_privilege($1::name, o.oid, p.privilege)
			WHEN o.kind = 'function' AND p.privilege = 'EXECUTE' THEN has_function_privilege($1::name, o.oid, p.privilege)
		END
		ORDER BY 1`
	want := []string{"DELETE taskfeed.tasks", "EXECUTE taskfeed.broadcast", "EXECUTE taskfeed.notify", "EXECUTE taskfeed.receive",
		"INSERT taskfeed.tasks", "SELECT taskfeed.tasks", "UPDATE taskfeed.tasks"}
	if got := list[string](owner, sqlOpen, one[string](app, `SELECT current_user::text`)); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("open to the app: %q, want %q", got, want)
	}
}

// A role without grants cannot even read.
func TestOtherRolesDoNothing(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(`SET ROLE ` + s.newRole(t, "stranger"))
	s.refused("42501", `SELECT id FROM taskfeed.tasks`)
	s.refused("42501", `SELECT taskfeed.notify('alice', 'hello')`)
}

// Objects named like ours, or like what we call, in a schema that the app puts
// first, change nothing.
func TestShadowObjects(t *testing.T) {
	t.Parallel()
	app, owner := newApp(t)
	app.exec(`
		CREATE TABLE app.changes (user_id text, task_id text, type text, version bigint, data jsonb);
		CREATE TEMP TABLE changes (user_id text, task_id text, type text, version bigint, data jsonb);
		CREATE TEMP TABLE old_rows (user_id text, id text, version bigint);
		CREATE FUNCTION app.shadow(anyelement, anyelement) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'shadowed'; END $$;
		CREATE FUNCTION app.texteq(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'shadowed'; END $$;
		CREATE OPERATOR app.= (LEFTARG = text, RIGHTARG = text, FUNCTION = app.texteq);
		CREATE OPERATOR app.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = app.texteq);
		CREATE FUNCTION app.int8eq(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'shadowed'; END $$;
		CREATE OPERATOR app.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = app.int8eq);
		CREATE FUNCTION app.int8pl(bigint, integer) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE 'shadowed'; END $$;
		CREATE OPERATOR app.+ (LEFTARG = bigint, RIGHTARG = integer, FUNCTION = app.int8pl);
		CREATE FUNCTION app.textcat(text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'shadowed'; END $$;
		CREATE OPERATOR app.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = app.textcat);
		CREATE FUNCTION app.int2eq(smallint, smallint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'shadowed'; END $$;
		CREATE FUNCTION app.int8inc(bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE 'shadowed'; END $$;
		CREATE FUNCTION app.record_eq(record, record) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'shadowed'; END $$;
		CREATE FUNCTION app.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE 'shadowed'; END $$;
		CREATE FUNCTION app.octet_length(text) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RAISE 'shadowed'; END $$;
		CREATE FUNCTION app.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'shadowed'; END $$;
		CREATE FUNCTION app.current_setting(text, boolean) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'shadowed'; END $$;
		CREATE FUNCTION app.jsonb_strip_nulls(jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE 'shadowed'; END $$;
		SET search_path = app, pg_temp, pg_catalog`)
	app.refused("P0001", `SELECT 'a'::text = 'a'::text`) // the shadows work
	app.exec(`
		INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice');
		UPDATE taskfeed.tasks SET progress = 40, message = 'm';
		UPDATE taskfeed.tasks SET progress = 40;
		UPDATE taskfeed.tasks SET status = 'completed', user_id = 'bob', result = '1', error = 'e';
		UPDATE taskfeed.tasks SET error = repeat('x', 300000);
		SELECT taskfeed.notify('alice', 'hello');
		SELECT taskfeed.broadcast('hello');
		DELETE FROM taskfeed.tasks`)
	if got := one[int](owner, `SELECT count(*) FROM app.changes`); got != 0 {
		t.Errorf("bad input 8: %d changes went to the app's own table, want 0", got)
	}
	owner.wantCaptured(`alice t task_queued 1 {"progress": 0}`, `alice t task_progress 2 {"message": "m", "progress": 40}`,
		`alice t task_deleted 3 {}`, `bob t task_completed 3 {"error": "e", "result": 1, "message": "m", "progress": 40}`,
		`bob t task_completed 4 {"error": null, "result": 1, "message": "m", "progress": 40, "truncated": ["error"]}`,
		`alice hello {}`, `* hello {}`, `bob t task_deleted 5 {}`)
}
