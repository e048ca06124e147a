package migrations_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/migrations"
)

// Members of roles that read and write all data were not reported, nor foreign keys
// that prevent forget from deleting tasks. Memberships belong to the server, so this
// does not run beside other tests.
func TestInspectOthers(t *testing.T) {
	app, owner := newApp(t)
	appRole, backup := one[string](app, `SELECT quote_ident(current_user)`), owner.newRole(t, "backup")
	owner.exec(`DO $$ BEGIN PERFORM taskfeed.grant_app('` + appRole + `', foreign_keys => true); END $$`)
	app.exec(`CREATE TABLE app.t (id text REFERENCES taskfeed.tasks ON DELETE CASCADE)`)
	owner.exec(`GRANT pg_read_all_data, pg_write_all_data TO ` + backup + `, ` + appRole + `;
		ALTER ROLE ` + backup + ` SET session_replication_role = replica; ALTER ROLE ` + appRole + ` SET session_replication_role = origin`)
	t.Cleanup(func() {
		if _, err := owner.conn.Exec(context.WithoutCancel(t.Context()), `REVOKE pg_read_all_data, pg_write_all_data FROM `+backup+`, `+appRole); err != nil {
			t.Errorf("revoke: %v", err)
		}
	})
	found, err := migrations.Inspect(t.Context(), owner.url)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range found {
		got = append(got, f.String())
	}
	want := []string{
		"note: sessions of the role " + backup + " play a replica, by a setting of the role: what it changes of tasks is not captured",
		"note: the foreign key t_id_fkey of table app.t of the role " + appRole + " is bound to taskfeed.tasks: taskfeed forget leaves a user's tasks to the app to delete",
		fmt.Sprintf("note: the role %s is no app's and, as a member of pg_read_all_data, can read the log", backup),
		fmt.Sprintf("note: the role %s is no app's and, as a member of pg_write_all_data, can forge events", backup),
	}
	slices.Sort(got)
	slices.Sort(want) // their order is the collation's
	if !slices.Equal(got, want) {
		t.Errorf("bad input 152: found\n%q\nwant\n%q", got, want)
	}
}

// While an app had locked a table, doctor ended with an error of Postgres and did not
// name the session.
func TestInspectLockedTables(t *testing.T) {
	t.Parallel()
	for _, statement := range []string{`LOCK TABLE taskfeed.tasks`, `ALTER TABLE taskfeed.tasks ADD COLUMN more int`, `LOCK TABLE taskfeed.changes`} {
		t.Run(statement, func(t *testing.T) {
			t.Parallel()
			holder := newSession(t)
			holder.exec(`SET application_name = 'the app'; BEGIN; ` + statement)
			pid := one[int](holder, `SELECT pg_backend_pid()`)
			found, err := migrations.Inspect(t.Context(), holder.url)
			if err != nil || len(found) != 2 || !found[0].Problem {
				t.Fatalf("bad input 156: found %v, error %v, want two problems", found, err)
			}
			_, table, _ := strings.Cut(statement, "taskfeed.")
			table, _, _ = strings.Cut(table, " ")
			if want := fmt.Sprintf(`problem: table %s is locked by the session %d of the role postgres, which calls itself "the app": end its transaction, or run SELECT pg_terminate_backend(%d)`, table, pid, pid); found[1].String() != want {
				t.Errorf("bad input 156: found %q, want %q", found[1], want)
			}
			holder.exec(`ROLLBACK`)
			if found, err := migrations.Inspect(t.Context(), holder.url); err != nil || len(found) > 0 {
				t.Errorf("bad input 156: afterwards: found %v, error %v, want nothing", found, err)
			}
		})
	}
}
