package migrations_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// sqlEvil is what an app tries to run with the rights of the schema's owner. With its
// own rights it does nothing.
const sqlEvil = `
CREATE FUNCTION app.evil() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'GRANT SELECT, INSERT ON taskfeed.events TO PUBLIC';
    RETURN NULL;
EXCEPTION WHEN insufficient_privilege THEN
    RETURN NULL;
END
$$;
CREATE FUNCTION app.later() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.traps VALUES (1);
    RETURN NULL;
END
$$;
CREATE TABLE app.traps (n int);
CREATE CONSTRAINT TRIGGER trap AFTER INSERT ON app.traps DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.evil();
INSERT INTO taskfeed.tasks (id, user_id) VALUES ('none', 'nobody'), ('t1', 'alice'), ('t2', 'alice'), ('b', 'bob');`

// bindings are ways in which an app runs its own code when tasks are deleted.
var bindings = []struct{ name, do, named string }{
	{"cascade", `CREATE TABLE app.t (id text REFERENCES taskfeed.tasks ON DELETE CASCADE); INSERT INTO app.t VALUES ('t1');
		CREATE TRIGGER e AFTER DELETE ON app.t FOR EACH ROW EXECUTE FUNCTION app.evil()`, "foreign key t_id_fkey of table app.t"},
	{"set null, deferred", `CREATE TABLE app.t (id text REFERENCES taskfeed.tasks ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED); INSERT INTO app.t VALUES ('t1');
		CREATE CONSTRAINT TRIGGER e AFTER UPDATE ON app.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.evil()`, "foreign key t_id_fkey of table app.t"},
	{"set default", `CREATE TABLE app.t (id text DEFAULT 'none' REFERENCES taskfeed.tasks ON DELETE SET DEFAULT); INSERT INTO app.t VALUES ('t1');
		CREATE TRIGGER e AFTER UPDATE ON app.t FOR EACH STATEMENT EXECUTE FUNCTION app.evil()`, "foreign key t_id_fkey of table app.t"},
	{"before, and then deferred", `CREATE TABLE app.t (id text REFERENCES taskfeed.tasks ON DELETE CASCADE); INSERT INTO app.t VALUES ('t1');
		CREATE TRIGGER e AFTER DELETE ON app.t FOR EACH ROW EXECUTE FUNCTION app.later()`, "foreign key t_id_fkey of table app.t"},
	{"a second table behind the first", `CREATE TABLE app.t (id text PRIMARY KEY REFERENCES taskfeed.tasks ON DELETE CASCADE); INSERT INTO app.t VALUES ('t1');
		CREATE TABLE app.u (id text REFERENCES app.t ON DELETE CASCADE); INSERT INTO app.u VALUES ('t1');
		CREATE TRIGGER e AFTER DELETE ON app.u FOR EACH ROW EXECUTE FUNCTION app.evil()`, "foreign key t_id_fkey of table app.t"},
	{"a partition", `CREATE TABLE app.t (id text REFERENCES taskfeed.tasks ON DELETE CASCADE) PARTITION BY LIST (id); CREATE TABLE app.p PARTITION OF app.t DEFAULT; INSERT INTO app.t VALUES ('t1');
		CREATE TRIGGER e AFTER DELETE ON app.p FOR EACH ROW EXECUTE FUNCTION app.evil()`, "of table app."},
	{castOfApp, `CREATE TYPE app.odd AS (v text);
		CREATE FUNCTION app.odd_text(app.odd) RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO app.traps VALUES (1); RETURN ($1).v; END $$;
		CREATE CAST (app.odd AS text) WITH FUNCTION app.odd_text(app.odd) AS IMPLICIT;
		CREATE TABLE app.t (id app.odd REFERENCES taskfeed.tasks); INSERT INTO app.t VALUES (ROW('b'))`, "foreign key t_id_fkey of table app.t"},
	{"restrict", `CREATE TABLE app.t (id text REFERENCES taskfeed.tasks ON DELETE RESTRICT)`, "foreign key t_id_fkey of table app.t"},
	{"a trigger of tasks for rows", `CREATE TRIGGER a_app AFTER DELETE ON taskfeed.tasks FOR EACH ROW EXECUTE FUNCTION app.evil()`, "trigger a_app of table taskfeed.tasks, with the function app.evil()"},
	{"a trigger of tasks for statements", `CREATE TRIGGER a_app BEFORE DELETE ON taskfeed.tasks FOR EACH STATEMENT EXECUTE FUNCTION app.evil()`, "trigger a_app of table taskfeed.tasks"},
	{"a trigger with rights of its own", `ALTER FUNCTION app.later() SECURITY DEFINER;
		CREATE TRIGGER a_app AFTER DELETE ON taskfeed.tasks FOR EACH ROW EXECUTE FUNCTION app.later()`, "trigger a_app of table taskfeed.tasks"},
}

// castOfApp is the binding that PostgreSQL 18 refuses itself: a foreign key compares no
// type without a collation with a text.
const castOfApp = "no action, and a cast"

const sqlOpened = `SELECT count(*) FROM pg_class AS c CROSS JOIN aclexplode(c.relacl) AS a WHERE c.oid = 'taskfeed.events'::regclass AND a.grantee = 0`

// An app bound code to the deletion of tasks, and the operator who erased a user
// ran it with the rights of the schema's owner: it opened the log. Now the app
// deletes the tasks, and what is left is erased without running anything.
func TestForgetRunsNothingOfAnApp(t *testing.T) {
	t.Parallel()
	for _, b := range bindings {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			app, owner := newApp(t)
			role := one[string](app, `SELECT quote_ident(current_user)`)
			owner.exec(`DO $$ BEGIN PERFORM taskfeed.grant_app('` + role + `', foreign_keys => true); END $$; GRANT TRIGGER ON taskfeed.tasks TO ` + role)
			if b.name == castOfApp && one[int](owner, `SELECT current_setting('server_version_num')::int`) >= 180000 {
				app.refused("XX000", sqlEvil+b.do)
				return
			}
			app.exec(sqlEvil + b.do)
			mustUp(t, owner.url) // takes TRIGGER back; what was made with it stays

			for _, call := range []string{`SELECT taskfeed.forget('alice')`, `SELECT taskfeed.forget('alice', at_most => 1)`, `SELECT taskfeed.refuse_bound()`} {
				refusal := owner.refused("2BP01", call)
				for _, want := range []string{b.named, "of the role " + role, "Let the app delete the tasks, as its own role"} {
					if !strings.Contains(refusal.Message, want) {
						t.Errorf("bad input 150: %s: got %q, want %q in it", call, refusal.Message, want)
					}
				}
			}
			if got := one[int](owner, `SELECT count(*) FROM taskfeed.tasks`); got != 4 {
				t.Errorf("bad input 150: %d tasks, want all 4", got)
			}
			app.exec(`DELETE FROM taskfeed.tasks WHERE user_id = 'alice'`)
			if got := one[string](owner, sqlForget, "alice"); !strings.HasPrefix(got, "0 0 ") {
				t.Errorf("bad input 150: forgot (tasks, events, changes, commands, marks) %s, want neither tasks nor events", got)
			}
			owner.wantForgotten("alice")
			if got := one[int](owner, sqlOpened); got != 0 {
				t.Errorf("bad input 150: %d rights of the log are open to everybody, want none", got)
			}
			owner.exec(`DROP SCHEMA app CASCADE`) // or the role cannot go
		})
	}
}

// A foreign key of a trusted role that changes no rows does not prevent forget.
func TestForgetBesideForeignKeysOfTheOwner(t *testing.T) {
	t.Parallel()
	_, owner := newApp(t)
	owner.exec(`CREATE TABLE app.notes (task text REFERENCES taskfeed.tasks);
		INSERT INTO taskfeed.tasks (id, user_id) VALUES ('a', 'alice'), ('b', 'bob'); INSERT INTO app.notes VALUES ('b')`)
	if got, want := one[string](owner, sqlForget, "alice"), "1 0 1 0 0 0 0"; got != want {
		t.Errorf("forgot (tasks, events, changes, commands, marks, messages, failures) %s, want %s", got, want)
	}
	owner.refused("23503", `SELECT taskfeed.forget('bob')`)
	owner.exec(`DROP TABLE app.notes; CREATE TABLE app.files (task text REFERENCES taskfeed.tasks ON DELETE CASCADE)`)
	if got := owner.refused("2BP01", `SELECT taskfeed.forget('bob')`).Message; !strings.Contains(got, "files_task_fkey") {
		t.Errorf("of a table whose rows would go: got %q, want the foreign key", got)
	}
	owner.exec(`DROP SCHEMA app CASCADE`)
}

// A trigger that an app bound to a table while default privileges allowed that would
// run when the server writes there.
func TestForgetRefusesWhatIsBoundToOtherTables(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ do, named string }{
		"a foreign key": {`CREATE TABLE app.t (id bigint REFERENCES taskfeed.commands ON DELETE CASCADE)`, "foreign key t_id_fkey of table app.t"},
		"a trigger":     {`CREATE TRIGGER a AFTER DELETE ON taskfeed.changes FOR EACH STATEMENT EXECUTE FUNCTION app.evil()`, "trigger a of table taskfeed.changes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app, owner := newApp(t)
			role := one[string](app, `SELECT quote_ident(current_user)`)
			owner.exec(`GRANT REFERENCES, TRIGGER ON taskfeed.commands, taskfeed.changes TO ` + role)
			app.exec(sqlEvil + c.do)
			mustUp(t, owner.url)
			for _, user := range []string{"alice", "nobody there"} {
				if got := owner.refused("2BP01", `SELECT taskfeed.forget('`+user+`')`).Message; !strings.Contains(got, c.named) || !strings.Contains(got, "drop it") {
					t.Errorf("bad input 150: %s: got %q, want %q", user, got, c.named)
				}
			}
			owner.exec(`DROP SCHEMA app CASCADE`) // or the role cannot go
		})
	}
}

// forget waits for a foreign key that is created at the same moment, and sees it.
func TestForgetWaitsForForeignKeys(t *testing.T) {
	t.Parallel()
	app, owner := newApp(t)
	role := one[string](app, `SELECT quote_ident(current_user)`)
	owner.exec(`DO $$ BEGIN PERFORM taskfeed.grant_app('` + role + `', foreign_keys => true); END $$`)
	app.exec(sqlEvil)
	app.exec(`BEGIN; CREATE TABLE app.t (id text REFERENCES taskfeed.tasks ON DELETE CASCADE)`)
	done := make(chan error)
	go func() {
		_, err := owner.conn.Exec(t.Context(), `SELECT taskfeed.forget('alice')`)
		done <- err
	}()
	watch := owner.another()
	for one[int](watch, `SELECT count(*) FROM pg_locks WHERE relation = 'taskfeed.tasks'::regclass AND NOT granted`) == 0 {
		select {
		case err := <-done:
			t.Fatalf("bad input 150: forget did not wait: %v", err)
		default:
		}
	}
	app.exec(`COMMIT`)
	if err := <-done; err == nil || !strings.Contains(err.Error(), "t_id_fkey") {
		t.Errorf("bad input 150: got %v, want the foreign key", err)
	}
}

// In a transaction with an older snapshot forget could not see what has been bound
// since.
func TestForgetRefusesOldSnapshots(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	for _, level := range []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.Serializable} {
		s.exec(`BEGIN ISOLATION LEVEL ` + string(level))
		s.refused("25001", `SELECT taskfeed.forget('alice')`)
		s.exec(`ROLLBACK`)
	}
}

// With REFERENCES an app can have its code run by whoever deletes tasks, so it is
// granted only on request, and earlier grants are revoked.
func TestForeignKeysAreGrantedApart(t *testing.T) {
	t.Parallel()
	app, owner := newApp(t)
	role := one[string](app, `SELECT quote_ident(current_user)`)
	const sqlRefer = `CREATE TABLE app.t (id text REFERENCES taskfeed.tasks)`
	grant := func(how string) {
		owner.exec(`DO $$ BEGIN PERFORM taskfeed.grant_app('` + role + `'` + how + `); END $$`)
	}
	app.refused("42501", sqlRefer)
	grant(`, foreign_keys => true`)
	mustUp(t, owner.url)
	owner.wantRights("with foreign keys", documented(role, "REFERENCES tasks.id")...)
	app.exec(sqlRefer + `; DROP TABLE app.t`)
	grant(``)
	owner.wantRights("without", documented(role)...)
	for _, by := range []string{role, "PUBLIC", owner.newRole(t, "other")} {
		owner.exec(`GRANT REFERENCES (id) ON taskfeed.tasks TO ` + by + `; GRANT REFERENCES ON taskfeed.tasks TO ` + by)
	}
	mustUp(t, owner.url)
	owner.wantRights("granted by hand", documented(role)...)
	app.refused("42501", sqlRefer)
	owner.refused("22023", `SELECT taskfeed.grant_app(current_user::regrole, NULL)`)
}
