package store_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// sqlForgedLibrary is a schema of a stranger that looks like River's, except that its
// version runs a function of theirs.
const sqlForgedLibrary = `
CREATE ROLE {role};
CREATE SCHEMA forged AUTHORIZATION {role};
GRANT USAGE ON SCHEMA forged TO PUBLIC;
SET ROLE {role};
CREATE TABLE forged.river_job (id bigint PRIMARY KEY, state text, args jsonb, metadata jsonb, errors jsonb[], user_id text);
CREATE TABLE forged.runs (by text);
CREATE FUNCTION forged.version() RETURNS bigint LANGUAGE sql AS 'INSERT INTO forged.runs VALUES (current_user); SELECT 6::bigint';
CREATE VIEW forged.river_migration AS SELECT forged.version() AS version;
GRANT SELECT ON ALL TABLES IN SCHEMA forged TO PUBLIC;
RESET ROLE`

// Anybody may make tables with the names of a library, and a view among them runs
// their code in the session that reads it. To list libraries, as doctor does, reads
// nothing of theirs, unless they are trusted.
func TestLibrariesOfStrangers(t *testing.T) {
	t.Parallel()
	f := setup(t)
	role := fmt.Sprintf("forger_%d", os.Getpid())
	pgtest.Exec(t, f.url, strings.ReplaceAll(sqlForgedLibrary, "{role}", role))
	t.Cleanup(func() {
		if _, err := f.app.Exec(context.WithoutCancel(t.Context()), "DROP SCHEMA forged CASCADE; DROP ROLE "+role); err != nil {
			t.Errorf("drop the role: %v", err)
		}
	})
	for _, c := range []struct {
		when, do   string
		version, n int
	}{
		{"as made", "", 0, 0},
		{"attached and trusted", `SELECT taskfeed.attach('forged.river_job', 'river', '{"trust_owner": true}')`, 6, 1},
		{"the view is another's", `GRANT CREATE ON SCHEMA forged TO ` + role + `; CREATE ROLE {other}; ALTER VIEW forged.river_migration OWNER TO {other}`, 0, 1},
	} {
		if c.do != "" {
			pgtest.Exec(t, f.url, strings.ReplaceAll(c.do, "{other}", role+"_other"))
		}
		all, err := f.store.Libraries(t.Context())
		if err != nil || len(all) != 1 || all[0].Version != c.version {
			t.Errorf("%s: got %+v and error %v, want version %d", c.when, all, err, c.version)
		}
		var n int
		if err := f.app.QueryRow(t.Context(), "SELECT count(*) FROM forged.runs").Scan(&n); err != nil || n != c.n {
			t.Errorf("%s: the stranger's code ran %d times (%v), want %d", c.when, n, err, c.n)
		}
	}
	pgtest.Exec(t, f.url, "DROP VIEW forged.river_migration; DROP ROLE "+role+"_other")
}
