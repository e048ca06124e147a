package store_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/devpg"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/migrations"
	"github.com/taskfeed/taskfeed/store"
	"github.com/taskfeed/taskfeed/store/history"
)

// newRole makes a role that may connect, and drops it when the test ends.
func newRole(t *testing.T, conn *pgx.Conn, name, options string) string {
	t.Helper()
	name = fmt.Sprintf("%s_%d", name, time.Now().UnixNano())
	exec(t, conn, `CREATE ROLE `+name+` LOGIN PASSWORD 'secret' `+options)
	t.Cleanup(func() {
		if _, err := conn.Exec(context.WithoutCancel(t.Context()), `REASSIGN OWNED BY `+name+` TO CURRENT_USER; DROP OWNED BY `+name+`; DROP ROLE `+name, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Errorf("drop role: %v", err)
		}
	})
	return name
}

// as returns the URL for another role.
func as(t *testing.T, databaseURL, role string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, "secret")
	return u.String()
}

// ordinary is a schema of a role that is no superuser, as production has it.
func ordinary(t *testing.T) (admin *pgx.Conn, f *fixture, role string) {
	t.Helper()
	empty := pgtest.Empty(t)
	admin = pgtest.Connect(t, empty)
	role = newRole(t, admin, "server", "")
	exec(t, admin, `GRANT CREATE ON DATABASE `+pgx.Identifier{value[string](t, admin, `SELECT current_database()::text`)}.Sanitize()+` TO `+role)
	if err := migrations.Up(t.Context(), as(t, empty, role)); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	return admin, setupAt(t, as(t, empty, role)), role
}

// Rights that a restore or default privileges had opened were not reported.
func TestRightsHazards(t *testing.T) {
	t.Parallel()
	admin, f, owner := ordinary(t)
	wantHazards(t, f.store, store.HazardRights)
	app := newRole(t, admin, "app", "")
	exec(t, f.app, `SELECT taskfeed.grant_app('`+app+`')`)
	wantHazards(t, f.store, store.HazardRights)
	exec(t, admin, strings.ReplaceAll(`
		CREATE SCHEMA own AUTHORIZATION app; CREATE TABLE own.mine (LIKE taskfeed.tasks); ALTER TABLE own.mine OWNER TO app;
		GRANT EXECUTE ON FUNCTION taskfeed.capture_insert() TO PUBLIC;
		SET ROLE app; CREATE TRIGGER forge AFTER INSERT ON own.mine FOR EACH ROW EXECUTE FUNCTION taskfeed.capture_insert(); RESET ROLE;
		GRANT SELECT ON taskfeed.events TO app;
		GRANT UPDATE (data) ON taskfeed.events_0 TO PUBLIC;
		GRANT CREATE ON SCHEMA taskfeed TO app;
		ALTER TABLE taskfeed.commands OWNER TO app;
		ALTER FUNCTION taskfeed.must_ring() OWNER TO app;
		GRANT `+owner+` TO app`, "app", app), pgx.QueryExecModeSimpleProtocol)
	wantHazards(t, f.store, store.HazardRights,
		"CREATE of schema taskfeed is open to "+app+": run taskfeed migrate up, or REVOKE CREATE ON SCHEMA taskfeed FROM "+app,
		"EXECUTE of routine taskfeed.capture_insert() is open to PUBLIC: run taskfeed migrate up, or REVOKE EXECUTE ON ROUTINE",
		"SELECT of table events is open to "+app,
		"UPDATE of table events_0 (data) is open to PUBLIC: run taskfeed migrate up, or REVOKE UPDATE (data) ON TABLE taskfeed.events_0 FROM PUBLIC",
		"function taskfeed.must_ring() belongs to "+app+", who can do anything with it: run ALTER ROUTINE taskfeed.must_ring() OWNER TO "+owner,
		"table commands belongs to "+app,
		"the role "+app+" of an app is a member of "+owner+" and can do anything: run REVOKE "+owner+" FROM "+app,
		"trigger forge of table own.mine calls taskfeed.capture_insert(): run DROP TRIGGER forge ON own.mine")
	exec(t, admin, strings.ReplaceAll(`REVOKE `+owner+` FROM app; ALTER TABLE taskfeed.commands OWNER TO `+owner+`; ALTER ROUTINE taskfeed.must_ring() OWNER TO `+owner+`;
		DROP TRIGGER forge ON own.mine`, "app", app), pgx.QueryExecModeSimpleProtocol)
	if err := migrations.Up(t.Context(), f.url); err != nil {
		t.Fatalf("migrate up: %v", err)
	}
	wantHazards(t, f.store, store.HazardRights)
}

// The triggers of attached tables are no hazards, and those that are left on a table
// that was replaced are. All of them were reported.
func TestTriggersOfSourcesAreNoHazards(t *testing.T) {
	t.Parallel()
	admin, f, owner := ordinary(t)
	attach := strings.ReplaceAll(`SET ROLE owner; CREATE TABLE app.job (name text, id int, user_id text, status text, PRIMARY KEY (name, id)) PARTITION BY LIST (name);
		CREATE TABLE app.leaf PARTITION OF app.job DEFAULT; SELECT taskfeed.attach('app.job', 'job', '{"id": "id"}'); RESET ROLE`, "owner", owner)
	exec(t, admin, `CREATE SCHEMA app AUTHORIZATION `+owner+`; `+attach, pgx.QueryExecModeSimpleProtocol)
	wantHazards(t, f.store, store.HazardRights)
	exec(t, admin, `ALTER TABLE app.job RENAME TO old; ALTER TABLE app.leaf RENAME TO old_leaf; `+attach, pgx.QueryExecModeSimpleProtocol)
	wantHazards(t, f.store, store.HazardRights,
		"trigger aa_taskfeed_job of table app.old calls taskfeed.attached_job(): run DROP TRIGGER aa_taskfeed_job ON app.old",
		"trigger aa_taskfeed_job of table app.old_leaf calls",
		"trigger aa_taskfeed_job_truncate of table app.old calls")
}

// An app that may have foreign keys to tasks can have its code run by whoever deletes
// tasks. That was not reported.
func TestBoundHazards(t *testing.T) {
	t.Parallel()
	admin, f, owner := ordinary(t)
	app := newRole(t, admin, "app", "")
	exec(t, f.app, `SELECT taskfeed.grant_app('`+app+`', foreign_keys => true)`)
	exec(t, admin, strings.ReplaceAll(`
		CREATE SCHEMA own AUTHORIZATION app; CREATE SCHEMA trusted AUTHORIZATION `+owner+`;
		GRANT REFERENCES, TRIGGER ON taskfeed.commands TO app;
		SET ROLE app;
		CREATE TABLE own.t (id text REFERENCES taskfeed.tasks ON DELETE CASCADE);
		CREATE TABLE own.c (id bigint REFERENCES taskfeed.commands);
		CREATE FUNCTION own.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
		CREATE TRIGGER spy AFTER INSERT ON taskfeed.commands FOR EACH STATEMENT EXECUTE FUNCTION own.f();
		SET ROLE `+owner+`;
		CREATE TABLE trusted.t (id text REFERENCES taskfeed.tasks);
		RESET ROLE;
		REVOKE REFERENCES, TRIGGER ON taskfeed.commands FROM app`, "app", app), pgx.QueryExecModeSimpleProtocol)
	elsewhere := []string{
		"the foreign key c_id_fkey of table own.c lets the role " + app + " run code with the rights of whoever deletes rows of taskfeed.commands: run ALTER TABLE own.c DROP CONSTRAINT c_id_fkey",
		"the trigger spy of table taskfeed.commands calls the function own.f() of the role " + app + ", with our rights: run DROP TRIGGER spy ON taskfeed.commands"}
	wantHazards(t, f.store, store.HazardRights, elsewhere...)
	exec(t, f.app, `SELECT taskfeed.grant_app('`+app+`')`)
	wantHazards(t, f.store, store.HazardRights, append([]string{elsewhere[0],
		"the foreign key t_id_fkey of table own.t lets the role " + app + " run code with the rights of whoever deletes rows of taskfeed.tasks: run ALTER TABLE own.t DROP CONSTRAINT t_id_fkey, or if you trust that role SELECT taskfeed.grant_app('" + app + "', foreign_keys => true)"},
		elsewhere[1])...)
}

// An app that was a member of Postgres's predefined roles read and forged the log, and
// doctor reported nothing.
func TestPowersOfApps(t *testing.T) {
	t.Parallel()
	admin, f, owner := ordinary(t)
	app, group := newRole(t, admin, "app", ""), newRole(t, admin, "group", "")
	exec(t, f.app, `SELECT taskfeed.grant_app('`+app+`')`)
	exec(t, admin, `GRANT `+group+` TO `+app)
	for _, c := range []struct{ do, undo, want string }{
		{`GRANT pg_read_all_data TO app`, `REVOKE pg_read_all_data FROM app`, "is a member of pg_read_all_data and can read the log: run REVOKE pg_read_all_data FROM " + app},
		{`GRANT pg_write_all_data TO app`, `REVOKE pg_write_all_data FROM app`, "is a member of pg_write_all_data and can forge events"},
		{`GRANT pg_read_all_data TO grp`, `REVOKE pg_read_all_data FROM grp`, "is a member of pg_read_all_data and can read the log"},
		{`GRANT pg_execute_server_program TO app`, `REVOKE pg_execute_server_program FROM app`, "is a member of pg_execute_server_program and can do anything"},
		{`GRANT pg_read_server_files TO grp`, `REVOKE pg_read_server_files FROM grp`, "is a member of pg_read_server_files and can do anything"},
		{`GRANT pg_signal_backend TO app`, `REVOKE pg_signal_backend FROM app`, "is a member of pg_signal_backend and can end the servers' sessions"},
		{`GRANT ` + owner + ` TO grp`, `REVOKE ` + owner + ` FROM grp`, "is a member of " + owner + " and can do anything: run REVOKE " + owner + " FROM " + app},
		{`ALTER ROLE app REPLICATION`, `ALTER ROLE app NOREPLICATION`, "can read the log by replication: run ALTER ROLE " + app + " NOREPLICATION"},
		{`ALTER ROLE grp REPLICATION`, `ALTER ROLE grp NOREPLICATION`, "is a member of " + group + " and can read the log by replication"},
		{`ALTER ROLE grp SUPERUSER`, `ALTER ROLE grp NOSUPERUSER`, "is a member of " + group + " and can do anything"},
	} {
		names := strings.NewReplacer("app", app, "grp", group)
		exec(t, admin, names.Replace(c.do))
		wantHazards(t, f.store, store.HazardRights, "the role "+app+" of an app "+c.want)
		exec(t, admin, names.Replace(c.undo))
	}
	wantHazards(t, f.store, store.HazardRights)
}

// After the app's role was renamed, doctor's remedy took its rights away; after it was
// dropped, the next role of that name was treated as an app's.
func TestAppsThatAreGone(t *testing.T) {
	t.Parallel()
	admin, f, _ := ordinary(t)
	app := newRole(t, admin, "app", "")
	exec(t, f.app, `SELECT taskfeed.grant_app('`+app+`')`)
	exec(t, admin, `ALTER ROLE `+app+` RENAME TO `+app+`_new`)
	wantHazards(t, f.store, store.HazardRights)
	exec(t, admin, `ALTER ROLE `+app+`_new RENAME TO `+app)
	exec(t, admin, `DROP OWNED BY `+app+`; DROP ROLE `+app+`; CREATE ROLE `+app, pgx.QueryExecModeSimpleProtocol)
	exec(t, f.app, `INSERT INTO taskfeed.app_roles (cluster, role_oid, role, foreign_keys) VALUES (1, 1, 'of a dump', false)`)
	wantHazards(t, f.store, store.HazardRights,
		`the role "of a dump", for which grant_app was called, is gone`,
		"the role "+app+", for which grant_app was called, is gone: run SELECT taskfeed.grant_app(…) for the role that the app has now, and DELETE FROM taskfeed.app_roles WHERE role = '"+app+"'")
	if err := migrations.Up(t.Context(), f.url); err != nil {
		t.Fatalf("migrate up: %v", err)
	}
	wantHazards(t, f.store, store.HazardRights, `the role "of a dump", for which grant_app was called, is gone`)
}

// Bad input 153. With session_replication_role set permanently nothing was captured any
// more, and nothing reported it.
func TestUncapturedHazards(t *testing.T) {
	t.Parallel()
	admin, f, owner := ordinary(t)
	app, other := newRole(t, admin, "app", ""), newRole(t, admin, "other", "")
	database := pgx.Identifier{value[string](t, admin, `SELECT current_database()::text`)}.Sanitize()
	exec(t, f.app, `SELECT taskfeed.grant_app('`+app+`')`)
	for _, value := range []string{"replica", "Replica", "'replica'", "DEFAULT", "origin", "local"} {
		for target, who := range map[string]string{
			"DATABASE " + database:                     "all sessions in the database " + strings.Trim(database, `"`),
			"ROLE ALL IN DATABASE " + database:         "all sessions in the database",
			"ROLE " + app:                              "sessions of the role " + app + " play",
			"ROLE " + app + " IN DATABASE " + database: "sessions of the role " + app + " in the database",
			"ROLE " + owner:                            "sessions of the role " + owner,
			"ROLE " + other:                            "",
		} {
			exec(t, admin, `ALTER `+target+` SET session_replication_role = `+value)
			if strings.Contains(strings.ToLower(value), "replica") && who != "" {
				wantHazards(t, f.store, store.HazardCapture, who)
			} else {
				wantHazards(t, f.store, store.HazardCapture)
			}
			exec(t, admin, `ALTER `+target+` RESET ALL`)
		}
	}
	exec(t, admin, `ALTER DATABASE `+database+` SET session_replication_role = replica`)
	for _, trigger := range value[[]string](t, f.app, "SELECT array_agg(tgname::text) FROM pg_trigger WHERE tgrelid = 'taskfeed.tasks'::regclass AND NOT tgisinternal") {
		exec(t, f.app, "ALTER TABLE taskfeed.tasks ENABLE ALWAYS TRIGGER "+trigger)
	}
	wantHazards(t, f.store, store.HazardCapture)
}

// Bad input 153. It may also be set in the configuration of the server.
func TestUncapturedByConfiguration(t *testing.T) {
	t.Parallel()
	pg := pgtest.Server(t, devpg.Config{Settings: map[string]string{"session_replication_role": "replica"}})
	if err := migrations.Up(t.Context(), pg.URL("postgres")); err != nil {
		t.Fatal(err)
	}
	wantHazards(t, openStore(t, store.Config{URL: pg.URL("postgres")}), store.HazardCapture, "all sessions of this server play a replica: changes of tasks are not captured; run ALTER SYSTEM RESET session_replication_role")
}

// Default privileges opened each new partition to others.
func TestNewPartitionsAreClosed(t *testing.T) {
	t.Parallel()
	admin, f, owner := ordinary(t)
	app := newRole(t, admin, "app", "")
	exec(t, admin, `ALTER DEFAULT PRIVILEGES FOR ROLE `+owner+` GRANT ALL ON TABLES TO `+app+`, PUBLIC`)
	exec(t, f.app, `CREATE TABLE taskfeed.probe ()`)
	if !value[bool](t, f.app, `SELECT has_table_privilege('`+app+`', 'taskfeed.probe', 'TRUNCATE')`) {
		t.Fatal("the default privileges give nothing")
	}
	exec(t, f.app, `DROP TABLE taskfeed.probe`)
	setHead(t, f.app, 29_999_999)
	maintain(t, f, 0)
	for _, partition := range []string{"events_3", "events_4"} {
		if got := value[string](t, f.app, `SELECT coalesce(string_agg(a.grantee::text || a.privilege_type, ' '), '')
			FROM pg_class AS c CROSS JOIN aclexplode(c.relacl) AS a WHERE c.oid = ('taskfeed.' || $1)::regclass AND a.grantee <> c.relowner`, partition); got != "" {
			t.Errorf("bad input 6: %s is open: %s", partition, got)
		}
	}
	wantHazards(t, f.store, store.HazardRights)
}

// Bad input 111: with FORCE ROW LEVEL SECURITY lists were empty, and nothing reported
// it.
func TestRowSecurityHazards(t *testing.T) {
	t.Parallel()
	admin, f, owner := ordinary(t)
	add(t, f.app, "t")
	for _, table := range []string{"tasks", "events", "events_default", "changes", "commands", "log_state"} {
		exec(t, f.app, `ALTER TABLE taskfeed.`+table+` ENABLE ROW LEVEL SECURITY`)
		wantHazards(t, f.store, store.HazardRowSecurity) // owners are exempt
		exec(t, f.app, `ALTER TABLE taskfeed.`+table+` FORCE ROW LEVEL SECURITY`)
		wantHazards(t, f.store, store.HazardRowSecurity,
			"row-level security of table "+table+" applies to the role "+owner+": run ALTER TABLE taskfeed."+table+" NO FORCE ROW LEVEL SECURITY, or as a superuser ALTER ROLE "+owner+" BYPASSRLS")
		exec(t, admin, `ALTER ROLE `+owner+` BYPASSRLS`)
		wantHazards(t, f.store, store.HazardRowSecurity)
		exec(t, admin, `ALTER ROLE `+owner+` NOBYPASSRLS`)
		exec(t, f.app, `ALTER TABLE taskfeed.`+table+` DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY`)
	}
	wantHazards(t, f.store, store.HazardRowSecurity)
}

// A list with a part of the rows would be wrong: every read fails and says what to do.
func TestRowSecurityIsNoEmptyList(t *testing.T) {
	t.Parallel()
	_, f, _ := ordinary(t)
	add(t, f.app, "t")
	moveAll(t, f.session)
	exec(t, f.app, `ALTER TABLE taskfeed.tasks ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
		ALTER TABLE taskfeed.events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
		ALTER TABLE taskfeed.commands ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
		ALTER TABLE taskfeed.changes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY`, pgx.QueryExecModeSimpleProtocol)
	ctx := t.Context()
	for name, read := range map[string]func() error{
		"tasks":    func() error { _, err := f.history().ListTasks(ctx, history.TaskQuery{Limit: 10}); return err },
		"a task":   func() error { _, err := f.history().FindTask(ctx, "t"); return err },
		"figures":  func() error { _, err := f.history().Stats(ctx); return err },
		"stalled":  func() error { _, err := f.history().StalledTasks(ctx, time.Minute); return err },
		"a story":  func() error { _, err := f.history().TaskEvents(ctx, "t", "", 10); return err },
		"the log":  func() error { _, err := f.history().ListEvents(ctx, history.EventQuery{Limit: 10}); return err },
		"events":   func() error { _, _, _, err := f.store.After(ctx, taskfeed.Filter{}, 0, 10); return err },
		"commands": func() error { _, err := f.store.LastCommand(ctx); return err },
		"moves":    func() error { _, err := f.session.Move(ctx); return err },
	} {
		err := read()
		wantCode(t, err, taskfeed.CodeUnavailable)
		if !mention(err, "row-level security", "taskfeed doctor") {
			t.Errorf("bad input 111: %s: got %v, want an error that says why and what to do", name, err)
		}
	}
}
