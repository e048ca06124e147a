package store_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/migrations"
)

// sqlTakeAway takes from PUBLIC the functions of Postgres that are called by name and not for an
// operator, and its catalogs and views.
const sqlTakeAway = `
DO $$
DECLARE f record;
BEGIN
    FOR f IN
        SELECT format('REVOKE ALL ON FUNCTION pg_catalog.%s FROM PUBLIC', oid::regprocedure) AS line
        FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace
          AND prokind = 'f'
          AND proname ~ '^(pg_|has_|to_reg|set_|setval|currval|nextval|current_setting|acl|col_|obj_|format_type|txid_|inet_)'
        UNION ALL
        SELECT format('REVOKE ALL ON pg_catalog.%I FROM PUBLIC', relname)
        FROM pg_class
        WHERE relnamespace = 'pg_catalog'::regnamespace
          AND relkind IN ('r', 'v')
    LOOP
        EXECUTE f.line;
    END LOOP;
END
$$`

// Bad input 133. An administrator may take from PUBLIC whatever Postgres gives to it, as hardening
// guides say of pg_stat_activity and pg_control_system. The start is refused with
// the GRANTs to run, and with those, as they are printed, everything works: so none
// is missing.
func TestWhatIsTakenFromPublic(t *testing.T) {
	t.Parallel()
	admin := pgtest.Empty(t)
	role := fmt.Sprintf("modest_%d", os.Getpid())
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	database := strings.TrimPrefix(u.Path, "/")
	pgtest.Exec(t, admin, "CREATE ROLE "+role+" LOGIN PASSWORD 'secret'; GRANT CREATE ON DATABASE "+database+" TO "+role)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		conn, err := pgtest.Dial(ctx, admin)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(ctx, "DROP OWNED BY "+role+" CASCADE; DROP ROLE "+role); err != nil {
			t.Errorf("drop the role: %v", err)
		}
		_ = conn.Close(ctx)
	})
	u.User = url.UserPassword(role, "secret")
	if err := migrations.Up(t.Context(), u.String()); err != nil {
		t.Fatalf("migrate as an ordinary role: %v", err)
	}
	pgtest.Exec(t, admin, sqlTakeAway)

	_, err = migrations.Read(t.Context(), u.String())
	for tries := 0; err != nil && tries < 3; tries++ {
		e, ok := errors.AsType[*migrations.GrantError](err)
		if !ok || !migrations.Refused(err) {
			t.Fatalf("got %v, want the GRANTs that are missing", err)
		}
		for _, grant := range e.Grants {
			pgtest.Exec(t, admin, grant)
		}
		_, err = migrations.Read(t.Context(), u.String())
	}
	if err != nil {
		t.Fatalf("with all GRANTs: %v", err)
	}
	f := setupAt(t, u.String())
	newWorld(t, f).run(t, "an ordinary role")
	if found, err := migrations.Inspect(t.Context(), u.String()); err != nil || len(found) > 0 {
		t.Errorf("doctor: got %v, error %v, want no findings", found, err)
	}
	if err := migrations.Up(t.Context(), u.String()); err != nil {
		t.Errorf("migrate again: %v", err)
	}
}
