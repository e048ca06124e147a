package migrations_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/taskfeed/taskfeed/migrations"
)

// Nothing named the members of roles that read and write all data, nor the foreign
// keys that keep forget from deleting tasks. Memberships belong to the server, so
// this does not run beside other tests.
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
