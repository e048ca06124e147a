package pgtest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/taskfeed/taskfeed/internal/devpg"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// childEnv has the test binary run its tests as a package would that uses
// pgtest: "plain" without Main.
const childEnv = "PGTEST_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "plain" {
		os.Exit(m.Run())
	}
	pgtest.Main(m)
}

// value runs SQL and returns its one value as text.
func value(t *testing.T, url, sql string) string {
	t.Helper()
	var got string
	if err := pgtest.Connect(t, url).QueryRow(t.Context(), sql).Scan(&got); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}

func TestNewHasTheSchema(t *testing.T) {
	t.Parallel()
	const sql = "select (to_regclass('taskfeed.tasks') is not null)::text"
	if got := value(t, pgtest.New(t), sql); got != "true" {
		t.Errorf("New: there is a table of tasks: %s, want true", got)
	}
	if got := value(t, pgtest.Empty(t), sql); got != "false" {
		t.Errorf("Empty: there is a table of tasks: %s, want false", got)
	}
}

func TestDatabasesAreSeparate(t *testing.T) {
	t.Parallel()
	a, b := pgtest.New(t), pgtest.New(t)
	pgtest.Exec(t, a, "create table mine (n int); insert into mine values (1)")
	pgtest.Exec(t, a, "insert into mine values ($1)", 2)
	if got := value(t, a, "select count(*)::text from mine"); got != "2" {
		t.Errorf("the first database has %s rows, want 2", got)
	}
	if got := value(t, b, "select coalesce(to_regclass('mine')::text, 'none')"); got != "none" {
		t.Errorf("the second database has the first one's table: %s", got)
	}
}

func TestDatabaseIsDropped(t *testing.T) {
	t.Parallel()
	var url string
	var conn *pgx.Conn
	t.Run("a test that leaves a connection open", func(t *testing.T) {
		url = pgtest.New(t)
		var err error
		if conn, err = pgx.Connect(t.Context(), url); err != nil {
			t.Fatal(err)
		}
	})
	defer func() { _ = conn.Close(context.Background()) }()
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("the connection outlived the test, want it ended")
	}
	_, err := pgx.Connect(t.Context(), url)
	refusal, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || refusal.Code != "3D000" { // invalid_catalog_name
		t.Errorf("connect after the test: %v, want that the database does not exist", err)
	}
}

func TestServerOfItsOwn(t *testing.T) {
	t.Parallel()
	s := pgtest.Server(t, devpg.Config{Settings: map[string]string{"max_connections": "17"}})
	url := s.URL("postgres")
	if got := value(t, url, "show max_connections"); got != "17" {
		t.Errorf("max_connections is %s, want 17", got)
	}
	pgtest.Exec(t, url, "create table kept as select 42 as n")
	if err := s.Restart(t.Context(), devpg.Immediate); err != nil {
		t.Fatal(err)
	}
	if got := value(t, url, "select n::text from kept"); got != "42" {
		t.Errorf("after an immediate restart: %s, want 42", got)
	}
}

// The error does not show a part of the URL that may be a password.
func TestGivenNonsense(t *testing.T) {
	t.Parallel()
	for _, given := range []string{"host=localhost password=sesame", "postgres://u:sesame@[::1/x"} {
		out, err := child(t, "TEST_DATABASE_URL="+given, "-test.run=^TestDatabasesAreSeparate$")
		if err == nil || !strings.Contains(out, "TEST_DATABASE_URL is not a URL") || strings.Contains(out, "sesame") {
			t.Errorf("%q: error %v and output %q, want a failure that names the variable alone", given, err, out)
		}
	}
}

func TestMainIsRequired(t *testing.T) {
	t.Parallel()
	out, err := child(t, childEnv+"=plain", "-test.run=^TestDatabasesAreSeparate$")
	if err == nil || !strings.Contains(out, "pgtest.Main(m)") {
		t.Errorf("error %v and output %q, want a failure that names pgtest.Main", err, out)
	}
}

// The databases of a run on a given server are gone after it.
func TestGivenServer(t *testing.T) {
	t.Parallel()
	s := pgtest.Server(t, devpg.Config{})
	out, err := child(t, "TEST_DATABASE_URL="+s.URL("postgres"), "-test.run=^(TestNewHasTheSchema|TestDatabaseIsDropped)$")
	if err != nil {
		t.Fatalf("error %v, it printed:\n%s", err, out)
	}
	// A server gives the number 16384 to the first object that is ever made on it.
	pgtest.Exec(t, s.URL("postgres"), "create database probe")
	if got := value(t, s.URL("postgres"), "select (oid > 16384)::text from pg_database where datname = 'probe'"); got != "true" {
		t.Error("the run made no databases on the server it was given")
	}
	if got := value(t, s.URL("postgres"), "select count(*)::text from pg_database where datname like 'taskfeed%'"); got != "0" {
		t.Errorf("%s databases are left on the server, want 0", got)
	}
}

// With the variable set, every database with the schema is hostile. A test's own
// connections do not bind to hostile objects and create their tables in another schema.
func TestHostileMode(t *testing.T) {
	t.Parallel()
	if os.Getenv("TASKFEED_TEST_HOSTILE") == "" {
		if out, err := child(t, "TASKFEED_TEST_HOSTILE=yes", "-test.run=^TestHostileMode$"); err != nil {
			t.Errorf("in the mode: error %v, it printed:\n%s", err, out)
		}
		return
	}
	const inexact = "select (relname ~ 'a')::text from pg_class limit 1" // a name on the left, for which there is no ~
	migrated, empty := pgtest.New(t), pgtest.Empty(t)
	for _, url := range []string{migrated, empty} {
		value(t, url, inexact)
		pgtest.Exec(t, url, "create table mine (n int)")
	}
	for url, want := range map[string]string{migrated: "TF666", empty: ""} {
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		_, err = conn.Exec(t.Context(), inexact)
		refusal, _ := errors.AsType[*pgconn.PgError](err)
		if got := refusal; (got != nil) != (want != "") || got != nil && got.Code != want {
			t.Errorf("a session that is not ours: got error %v, want SQLSTATE %q", err, want)
		}
		_ = conn.Close(t.Context())
	}
}

// child runs some of these tests in a process of its own.
func child(t *testing.T, env string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), env)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
