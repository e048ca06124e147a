package migrations_test

import (
	"context"
	"fmt"
	"testing"
)

// rename gives a role of newRole another name, and later its own again.
func (s *session) rename(role string) (renamed string) {
	s.t.Helper()
	renamed = role[:len(role)-1] + ` renamed"`
	s.exec(`ALTER ROLE ` + role + ` RENAME TO ` + renamed)
	s.t.Cleanup(func() {
		if _, err := s.conn.Exec(context.WithoutCancel(s.t.Context()), `ALTER ROLE `+renamed+` RENAME TO `+role); err != nil {
			s.t.Errorf("rename back: %v", err)
		}
	})
	return renamed
}

// A renamed role of an app lost its rights at the next migrate up, when it had some
// by default as well.
func TestRenamedAppKeepsItsRights(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	role := s.newRole(t, "app")
	s.grantApp(role)
	role = s.rename(role)
	s.exec(`ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO ` + role + `; GRANT SELECT ON taskfeed.events TO ` + role)
	for range 2 {
		mustUp(t, s.url)
		s.wantRights("bad input 151: after migrate up", documented(role)...)
	}
	if got := one[string](s, `SELECT quote_ident(role) FROM taskfeed.app_roles`); got != role {
		t.Errorf("bad input 151: the app is called %s, want %s", got, role)
	}
	s.grantApp(role)
	s.wantRights("bad input 151: after grant_app", documented(role)...)
}

// A new role with the name of an app's former role got all its rights.
func TestRolesMadeAnewAreNoApps(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	role := s.newRole(t, "app")
	s.grantApp(role)
	s.exec(`DROP OWNED BY ` + role + `; DROP ROLE ` + role + `; CREATE ROLE ` + role)
	mustUp(t, s.url)
	s.wantRights("bad input 151: after migrate up")
	if got := one[int](s, `SELECT count(*) FROM taskfeed.app_roles`); got != 0 {
		t.Errorf("bad input 151: %d roles of apps, want none", got)
	}
}

// Two apps that swap their names stay two apps, each with its own rights.
func TestAppsThatSwapNames(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	a, b := s.newRole(t, "app a"), s.newRole(t, "app b")
	s.grantApp(a)
	s.exec(`DO $$ BEGIN PERFORM taskfeed.grant_app('` + b + `', foreign_keys => true); END $$;
		ALTER ROLE ` + a + ` RENAME TO "between"; ALTER ROLE ` + b + ` RENAME TO ` + a + `; ALTER ROLE "between" RENAME TO ` + b)
	mustUp(t, s.url)
	if got := list[bool](s, `SELECT foreign_keys FROM taskfeed.apps() ORDER BY name`); fmt.Sprint(got) != "[true false]" {
		t.Errorf("bad input 151: foreign keys of the apps: %v, want of the first alone", got)
	}
	s.wantRights("bad input 151: after migrate up", append(documented(a, "REFERENCES tasks.id"), documented(b)...)...)
}

// A dump is loaded where roles have other oids, or do not exist yet: their names count.
func TestAppsOfADump(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	app, other := s.newRole(t, "app"), s.newRole(t, "other")
	s.grantApp(app)
	// As in a cluster where the oid of app is that of other.
	s.exec(`UPDATE taskfeed.app_roles SET cluster = 1, role_oid = '` + other + `'::regrole;
		INSERT INTO taskfeed.app_roles (cluster, role_oid, role, foreign_keys) VALUES (1, 1, 'not here yet', true);
		REVOKE ALL ON taskfeed.tasks FROM ` + app)
	for range 2 {
		mustUp(t, s.url)
		s.wantRights("bad input 151: after migrate up", documented(app)...)
	}
	if got := one[string](s, `SELECT string_agg(role || CASE cluster WHEN 1 THEN ' elsewhere' ELSE ' here' END, ', ' ORDER BY cluster DESC) FROM taskfeed.app_roles`); got != app[1:len(app)-1]+" here, not here yet elsewhere" {
		t.Errorf("bad input 151: roles of apps: %s, want %s here and the other as it was", got, app)
	}
	s.grantApp(other)
	s.wantRights("bad input 151: of two", append(documented(app), documented(other)...)...)
}
