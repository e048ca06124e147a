package migrations_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/migrations"
)

// sqlRights lists the rights of all roles but the owner in the schema, from the
// catalogs.
const sqlRights = `
	SELECT format('%s %s%s %s%s', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, a.privilege_type,
		CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, o.name, coalesce('.' || o.attribute, ''))
	FROM (
		SELECT nspname::text AS name, nspowner AS owner, nspacl AS acl, NULL::name AS attribute FROM pg_namespace WHERE nspname = 'taskfeed'
		UNION ALL
		SELECT relname, relowner, relacl, NULL FROM pg_class WHERE relnamespace = 'taskfeed'::regnamespace AND relkind IN ('r', 'p', 'S', 'v')
		UNION ALL
		SELECT c.relname, c.relowner, attacl, attname FROM pg_class AS c JOIN pg_attribute AS t ON t.attrelid = c.oid WHERE c.relnamespace = 'taskfeed'::regnamespace
		UNION ALL
		SELECT p.proname, proowner, coalesce(proacl, acldefault('f', proowner)), NULL FROM pg_proc AS p WHERE pronamespace = 'taskfeed'::regnamespace
	) AS o
	CROSS JOIN aclexplode(o.acl) AS a
	WHERE a.grantee <> o.owner
	ORDER BY 1`

// documented is what docs/OPERATIONS.md says that an app's role may do.
func documented(role string, more ...string) []string {
	var rights []string
	for _, right := range append([]string{"DELETE tasks", "EXECUTE broadcast", "EXECUTE notify", "EXECUTE receive", "INSERT tasks",
		"SELECT tasks", "UPDATE tasks", "USAGE taskfeed"}, more...) {
		rights = append(rights, role+" "+right)
	}
	slices.Sort(rights)
	return rights
}

func (s *session) wantRights(what string, want ...string) {
	s.t.Helper()
	if got := list[string](s, sqlRights); !slices.Equal(got, want) {
		s.t.Errorf("%s: open are\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// grantApp calls grant_app as a psql session would.
func (s *session) grantApp(role string) {
	s.t.Helper()
	s.exec(`DO $$ BEGIN PERFORM taskfeed.grant_app('` + role + `'); END $$`)
}

const sqlOpenAll = `
	GRANT ALL ON SCHEMA taskfeed TO %[1]s;
	GRANT ALL ON ALL TABLES IN SCHEMA taskfeed TO %[1]s;
	GRANT ALL ON ALL SEQUENCES IN SCHEMA taskfeed TO %[1]s;
	GRANT ALL ON ALL ROUTINES IN SCHEMA taskfeed TO %[1]s`

const sqlDefaultAll = `
	ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO %[1]s;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO %[1]s WITH GRANT OPTION;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO %[1]s;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON ROUTINES TO %[1]s`

// Whatever rights were granted before, after grant_app and migrate up the app's role
// has the documented ones and no other role has any.
func TestRightsAfterAnything(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, do string }{
		{"nothing", `SELECT 1`},
		{"rights left behind by a restore", `DO $$ DECLARE f regprocedure; BEGIN
			FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'taskfeed'::regnamespace LOOP EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', f); END LOOP; END $$;
			REVOKE ALL ON taskfeed.tasks FROM {app}; REVOKE ALL ON SCHEMA taskfeed FROM {app}`},
		{"all for the app", fmt.Sprintf(sqlOpenAll, "{app}")},
		{"all for everybody", fmt.Sprintf(sqlOpenAll, "PUBLIC")},
		{"all for another, who has it by default", fmt.Sprintf(sqlOpenAll+";"+sqlDefaultAll, "{other}")},
		{"all for another who has it by default in our schema", fmt.Sprintf(sqlOpenAll, "{other}") + `; ALTER DEFAULT PRIVILEGES IN SCHEMA taskfeed GRANT SELECT ON TABLES TO {other}`},
		{"by default, of another role", fmt.Sprintf(sqlOpenAll, "{other}") + `; ALTER DEFAULT PRIVILEGES FOR ROLE {app} GRANT SELECT ON TABLES TO {other}`},
		{"columns", `GRANT SELECT (data), UPDATE (data), INSERT (id), REFERENCES (id) ON taskfeed.events TO {app}, {other};
			GRANT REFERENCES (user_id) ON taskfeed.tasks TO {app} WITH GRANT OPTION; GRANT SELECT (version_id) ON taskfeed.schema_version TO PUBLIC`},
		{"with grant option, and handed on", `GRANT SELECT, TRUNCATE, TRIGGER ON taskfeed.tasks TO {app} WITH GRANT OPTION; GRANT SELECT ON taskfeed.events TO {app} WITH GRANT OPTION;
			SET ROLE {app}; GRANT SELECT, TRUNCATE ON taskfeed.tasks TO {other}; GRANT SELECT ON taskfeed.events TO {other}, PUBLIC; RESET ROLE`},
		{"tables", `GRANT TRIGGER, TRUNCATE, REFERENCES ON taskfeed.events, taskfeed.events_0, taskfeed.changes, taskfeed.tasks TO {other}, {app}`},
		{"sequences", `GRANT USAGE, SELECT, UPDATE ON SEQUENCE taskfeed.event_id, taskfeed.changes_id_seq TO {other}, {app}, PUBLIC`},
	} {
		for _, how := range []string{"grant_app", "migrate up"} {
			t.Run(c.name+", "+how, func(t *testing.T) {
				t.Parallel()
				s := newSession(t)
				app, other := s.newRole(t, "app"), s.newRole(t, "other")
				s.grantApp(app)
				s.exec(strings.NewReplacer("{app}", app, "{other}", other).Replace(c.do))
				if how == "grant_app" {
					s.grantApp(app)
				} else if err := migrations.Up(t.Context(), s.url); err != nil {
					t.Fatalf("migrate up: %v", err)
				}
				s.wantRights("bad input 6", documented(app)...)
			})
		}
	}
}

// ALTER DEFAULT PRIVILEGES before the first migration opened the log to the app.
func TestDefaultPrivilegesOpenNothing(t *testing.T) {
	t.Parallel()
	s := connect(t, pgtest.Empty(t))
	app, other := s.newRole(t, "app"), s.newRole(t, "other")
	for _, role := range []string{app, other, "PUBLIC"} {
		if role == "PUBLIC" { // which cannot have a grant option
			s.exec(fmt.Sprintf(strings.ReplaceAll(sqlDefaultAll, " WITH GRANT OPTION", ""), role))
		} else {
			s.exec(fmt.Sprintf(sqlDefaultAll, role))
		}
	}
	mustUp(t, s.url)
	s.wantRights("bad input 6: after the migration")
	s.grantApp(app)
	s.wantRights("bad input 6: after grant_app", documented(app)...)
	mustUp(t, s.url)
	s.wantRights("bad input 6: after migrate up", documented(app)...)
}

// Rights that were granted by hand stay if an app may have them.
func TestRightsGrantedByHand(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	role := s.newRole(t, "reports")
	s.exec(`GRANT USAGE ON SCHEMA taskfeed TO ` + role + `; GRANT SELECT ON taskfeed.tasks, taskfeed.log_state TO ` + role)
	mustUp(t, s.url)
	s.wantRights("after migrate up", role+" SELECT tasks", role+" USAGE taskfeed")
}

// Objects of another role do not prevent the rights of the others from being restored.
func TestRightsOfForeignObjects(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	app, owner := s.newRole(t, "app"), s.newRole(t, "owner")
	s.exec(`CREATE FUNCTION taskfeed.theirs() RETURNS int LANGUAGE sql RETURN 1;
		DO $$ DECLARE t regclass; BEGIN
			FOR t IN SELECT oid FROM pg_class WHERE relnamespace = 'taskfeed'::regnamespace AND relkind IN ('r', 'p') LOOP EXECUTE format('ALTER TABLE %s OWNER TO ` + owner + `', t); END LOOP;
		END $$;
		DO $$ DECLARE f regprocedure; BEGIN
			FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'taskfeed'::regnamespace AND proname <> 'theirs' LOOP EXECUTE format('ALTER ROUTINE %s OWNER TO ` + owner + `', f); END LOOP;
		END $$;
		ALTER SCHEMA taskfeed OWNER TO ` + owner + `;
		GRANT SELECT ON taskfeed.events TO ` + app + `;
		SET ROLE ` + owner)
	s.grantApp(app)
	s.wantRights("bad input 6: after grant_app", append(documented(app), "PUBLIC EXECUTE theirs")...)
	s.exec(`RESET ROLE; DROP SCHEMA taskfeed CASCADE`)
}

func TestGrantAppRefusesNobody(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.refused("42704", `SELECT taskfeed.grant_app('-')`)
	s.refused("42704", `SELECT taskfeed.grant_app('4294967295')`)
	s.wantRights("after what was refused")
}

// An app that got hold of our trigger functions forged events for any user with a
// trigger on its own table.
func TestTriggerFunctionsServeTasksAlone(t *testing.T) {
	t.Parallel()
	app, owner := newApp(t)
	role := one[string](app, `SELECT quote_ident(current_user)`)
	owner.exec(fmt.Sprintf(sqlOpenAll, role))
	app.exec(`CREATE TABLE app.mine (LIKE taskfeed.tasks INCLUDING DEFAULTS);
		INSERT INTO app.mine (id, user_id) VALUES ('t', 'victim');
		CREATE TRIGGER a AFTER INSERT ON app.mine FOR EACH ROW EXECUTE FUNCTION taskfeed.capture_insert();
		CREATE TRIGGER b BEFORE UPDATE ON app.mine FOR EACH ROW EXECUTE FUNCTION taskfeed.capture_update();
		CREATE TRIGGER c AFTER DELETE ON app.mine REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION taskfeed.capture_delete()`)
	for _, statement := range []string{`INSERT INTO app.mine (id, user_id) VALUES ('u', 'victim')`, `UPDATE app.mine SET progress = 1`, `DELETE FROM app.mine`} {
		app.refused("42501", statement)
	}
	app.exec(`CREATE TABLE app.checked (LIKE taskfeed.tasks INCLUDING DEFAULTS);
		CREATE TRIGGER a BEFORE INSERT ON app.checked FOR EACH ROW EXECUTE FUNCTION taskfeed.check_insert()`)
	app.refused("42501", `INSERT INTO app.checked (id, user_id) VALUES ('u', 'victim')`)
	owner.wantCaptured()
}

// An app may have foreign keys to tasks, with all that they do.
func TestForeignKeysToTasks(t *testing.T) {
	t.Parallel()
	app, owner := newApp(t)
	owner.exec(`DO $$ BEGIN PERFORM taskfeed.grant_app('` + one[string](app, `SELECT quote_ident(current_user)`) + `', foreign_keys => true); END $$`)
	app.exec(`
		CREATE TABLE app.files (task text REFERENCES taskfeed.tasks (id) ON DELETE CASCADE ON UPDATE CASCADE);
		CREATE TABLE app.notes (task text REFERENCES taskfeed.tasks (id) ON DELETE SET NULL);
		INSERT INTO taskfeed.tasks (id, user_id) VALUES ('a', 'alice'), ('b', 'bob');
		INSERT INTO app.files VALUES ('a'), ('b');
		INSERT INTO app.notes VALUES ('b');
		UPDATE taskfeed.tasks SET progress = 9 WHERE id = 'a';
		UPDATE taskfeed.tasks SET id = 'c' WHERE id = 'a';
		DELETE FROM taskfeed.tasks WHERE id = 'b'`)
	if got := list[string](app, `SELECT task FROM app.files`); !slices.Equal(got, []string{"c"}) {
		t.Errorf("files of the tasks %q, want of c alone", got)
	}
	if got := one[int](app, `SELECT count(*) FROM app.notes WHERE task IS NULL`); got != 1 {
		t.Errorf("%d notes without a task, want 1", got)
	}
	app.refused("23503", `INSERT INTO app.files VALUES ('gone')`)
	owner.wantCaptured(`alice a task_queued 1 {"progress": 0}`, `bob b task_queued 1 {"progress": 0}`, `alice a task_progress 2 {"progress": 9}`,
		`alice a task_deleted 3 {}`, `alice c task_queued 3 {"progress": 9}`, `bob b task_deleted 2 {}`)
}

// An app may have row-level security on tasks: what it may write is captured.
func TestRowSecurityOfTheApp(t *testing.T) {
	t.Parallel()
	app, owner := newApp(t)
	owner.exec(`ALTER TABLE taskfeed.tasks ENABLE ROW LEVEL SECURITY;
		CREATE POLICY own ON taskfeed.tasks USING (user_id = current_setting('app.who', true))`)
	app.exec(`SET app.who = 'alice'; INSERT INTO taskfeed.tasks (id, user_id) VALUES ('a', 'alice')`)
	app.refused("42501", `INSERT INTO taskfeed.tasks (id, user_id) VALUES ('b', 'bob')`)
	app.exec(`UPDATE taskfeed.tasks SET progress = 5; SET app.who = 'bob'; UPDATE taskfeed.tasks SET progress = 6; DELETE FROM taskfeed.tasks;
		SET app.who = 'alice'; DELETE FROM taskfeed.tasks`)
	owner.wantCaptured( // bad input 111
		`alice a task_queued 1 {"progress": 0}`, `alice a task_progress 2 {"progress": 5}`, `alice a task_deleted 3 {}`)
}
