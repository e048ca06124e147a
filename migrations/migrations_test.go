package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/migrations"
)

func mustUp(t *testing.T, url string) {
	t.Helper()
	if err := migrations.Up(t.Context(), url); err != nil {
		t.Fatalf("up: %v", err)
	}
}

// wantVersions reads the versions of a database whose schema must be at version.
func wantVersions(t *testing.T, url string, version int64) {
	t.Helper()
	got, err := migrations.Read(t.Context(), url)
	if err != nil {
		t.Fatalf("read versions: %v", err)
	}
	if want := (migrations.Versions{Database: version, Binary: newest(t)}); got != want {
		t.Errorf("versions: %+v, want %+v", got, want)
	}
}

// newest is the number of the last SQL file.
func newest(t *testing.T) (n int64) {
	t.Helper()
	files, err := filepath.Glob("*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %d migrations: %v", len(files), err)
	}
	if _, err := fmt.Sscanf(slices.Max(files), "%05d_", &n); err != nil {
		t.Fatalf("%s has no number: %v", slices.Max(files), err)
	}
	return n
}

// partly applies the migrations up to a version, as an older binary would have.
func partly(t *testing.T, url string, version int64) {
	t.Helper()
	s := connect(t, url)
	s.exec(`CREATE SCHEMA taskfeed`)
	db := stdlib.OpenDB(*s.conn.Config())
	defer db.Close()
	p, err := goose.NewProvider(goose.DialectPostgres, db, os.DirFS("."),
		goose.WithTableName("taskfeed.schema_version"), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatalf("read migrations: %v", err)
	}
	if _, err := p.UpTo(t.Context(), version); err != nil {
		t.Fatalf("migrate to version %d: %v", version, err)
	}
}

func TestUp(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	wantVersions(t, url, 0)
	mustUp(t, url)
	wantVersions(t, url, newest(t))

	before := describe(t, url)
	connect(t, url).exec(`INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice')`)
	mustUp(t, url)
	if after := describe(t, url); after != before {
		t.Errorf("a second up changed the schema:\n%s\nwant:\n%s", after, before)
	}
	if got := one[int](connect(t, url), `SELECT count(*) FROM taskfeed.changes`); got != 1 {
		t.Errorf("after a second up there are %d changes, want the 1 there was", got)
	}
}

// An older binary's schema becomes the same as a new one.
func TestUpFromEveryVersion(t *testing.T) {
	t.Parallel()
	want := describe(t, pgtest.New(t))
	for version := int64(1); version < newest(t); version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			url := pgtest.Empty(t)
			partly(t, url, version)
			connect(t, url).exec(`INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice')`)
			mustUp(t, url)
			if got := describe(t, url); got != want {
				t.Errorf("schema:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestConcurrentUps(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	errs := make([]error, 4) // one slot each, so no lock
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = migrations.Up(t.Context(), url) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Errorf("bad input 71: %v", err)
	}
	wantVersions(t, url, newest(t))
}

// An administrator may create the schema for a role that may not create one.
func TestUpAsAnOrdinaryRole(t *testing.T) {
	t.Parallel()
	s := connect(t, pgtest.Empty(t))
	role := s.newRole(t, "owner")
	s.exec(`DO $$ BEGIN EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()); END $$`)
	s.exec(`ALTER ROLE ` + role + ` LOGIN PASSWORD 'secret'`)
	s.exec(`DO $$ BEGIN EXECUTE format('GRANT CONNECT ON DATABASE %I TO ` + role + `', current_database()); END $$`)
	cfg := s.conn.Config()
	url := fmt.Sprintf("postgres://%s:secret@%s:%d/%s?sslmode=disable", strings.ReplaceAll(strings.Trim(role, `"`), " ", "%20"), cfg.Host, cfg.Port, cfg.Database)

	err := migrations.Up(t.Context(), url)
	if want := "GRANT CREATE ON DATABASE " + cfg.Database + " TO " + role; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("bad input 13: without a schema: got %v, want an error that says %s", err, want)
	}
	s.exec(`CREATE SCHEMA taskfeed AUTHORIZATION ` + role)
	mustUp(t, url)
	if err := migrations.Down(t.Context(), url); err != nil {
		t.Errorf("down: %v", err)
	}
}

// Up does not depend on how a database is configured.
func TestUpInAConfiguredDatabase(t *testing.T) {
	t.Parallel()
	s := connect(t, pgtest.Empty(t))
	for _, setting := range []string{`search_path = public, pg_catalog`, `standard_conforming_strings = off`, `statement_timeout = '20ms'`,
		`default_transaction_isolation = 'serializable'`, `default_transaction_deferrable = on`, `DateStyle = 'German'`, `check_function_bodies = off`} {
		s.exec(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET ` + strings.ReplaceAll(setting, `'`, `''`) + `', current_database()); END $$`)
	}
	s.exec(`CREATE FUNCTION public.gen_random_uuid() RETURNS uuid LANGUAGE plpgsql AS $$ BEGIN RAISE 'shadowed'; END $$`)
	mustUp(t, s.url)
	s.exec(`RESET ALL; SET search_path = public, pg_catalog; INSERT INTO taskfeed.tasks (user_id) VALUES ('alice')`)
	s.refused("23514", `INSERT INTO taskfeed.tasks (user_id) VALUES (E'al\x1bice')`)
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	connect(t, url).exec(fmt.Sprintf(`INSERT INTO taskfeed.schema_version (version_id, is_applied) VALUES (%d, true)`, newest(t)+1))
	before := describe(t, url)
	want := fmt.Sprintf("the database has schema version %d, this binary knows %d: install a newer taskfeed", newest(t)+1, newest(t))
	for name, migrate := range map[string]func(context.Context, string) error{"up": migrations.Up, "down": migrations.Down} {
		if err := migrate(t.Context(), url); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("bad input 72: %s: got %v, want %q", name, err, want)
		}
	}
	if after := describe(t, url); after != before {
		t.Errorf("bad input 72: the schema was changed to:\n%s", after)
	}
	wantVersions(t, url, newest(t)+1)
}

// TestOtherEncodingIsRefused is bad input 13 with a real database.
func TestOtherEncodingIsRefused(t *testing.T) {
	t.Parallel()
	s := connect(t, pgtest.Empty(t))
	cfg := s.conn.Config()
	name := cfg.Database + "_ascii"
	s.exec(`CREATE DATABASE ` + name + ` TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'`)
	t.Cleanup(func() {
		if _, err := s.conn.Exec(context.WithoutCancel(t.Context()), `DROP DATABASE `+name+` WITH (FORCE)`); err != nil {
			t.Errorf("drop database: %v", err)
		}
	})
	url := strings.Replace(s.url, cfg.Database, name, 1)
	err := migrations.Up(t.Context(), url)
	if err == nil || !strings.Contains(err.Error(), "SQL_ASCII") || !strings.Contains(err.Error(), "UTF8") {
		t.Errorf("got %v, want an error that names SQL_ASCII and UTF8", err)
	}
	if one[bool](connect(t, url), `SELECT to_regnamespace('taskfeed') IS NOT NULL`) {
		t.Errorf("the schema was made all the same")
	}
}

func TestBadURLs(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"postgres://user:s3cret@host:port/db", "postgres://postgres:s3cret@127.0.0.1:1/db?connect_timeout=5", "://s3cret"} {
		err := migrations.Up(t.Context(), url)
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("got %v, want an error without the password", err)
		}
	}
}
