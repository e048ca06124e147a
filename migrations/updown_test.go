package migrations_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/internal/pgtest"
	"github.com/taskfeed/taskfeed/migrations"
)

// sqlTraces counts what a database holds beyond a fresh one's catalogs.
const sqlTraces = `
SELECT (SELECT count(*) FROM pg_namespace WHERE nspname NOT LIKE 'pg\_%') * 1000000
     + (SELECT count(*) FROM pg_class) * 1000
     + (SELECT count(*) FROM pg_proc)
     + (SELECT count(*) FROM pg_type)`

func traces(t *testing.T, url string) (n int64) {
	t.Helper()
	if err := pgtest.Connect(t, url).QueryRow(t.Context(), sqlTraces).Scan(&n); err != nil {
		t.Fatalf("count objects: %v", err)
	}
	return n
}

func mustUp(t *testing.T, url string) {
	t.Helper()
	if err := migrations.Up(t.Context(), url); err != nil {
		t.Fatalf("up: %v", err)
	}
}

func TestUpAndDown(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	before := traces(t, url)
	v, err := migrations.Read(t.Context(), url)
	if err != nil || v.Database != 0 || v.Current() {
		t.Fatalf("an empty database has %v (%v), want version 0", v, err)
	}
	mustUp(t, url)
	mustUp(t, url) // finds nothing to do
	if v, err = migrations.Read(t.Context(), url); err != nil || !v.Current() {
		t.Fatalf("after up: %v (%v), want the binary's version", v, err)
	}
	pgtest.Exec(t, url, "INSERT INTO taskfeed.tasks (user_id) VALUES ('alice')")
	for range 2 { // the second finds nothing to do
		if err := migrations.Down(t.Context(), url); err != nil {
			t.Fatalf("down: %v", err)
		}
	}
	if after := traces(t, url); after != before {
		t.Errorf("down leaves traces: %d, want %d", after, before)
	}
	mustUp(t, url)
}

func TestTwoUpsAtOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := migrations.Up(t.Context(), url); err != nil {
				t.Errorf("bad input 71: up beside another: %v", err)
			}
		})
	}
	wg.Wait()
}

func TestRefusedSchemas(t *testing.T) {
	t.Parallel()
	t.Run("bad input 72: a schema newer than the binary", func(t *testing.T) {
		t.Parallel()
		url := pgtest.New(t)
		pgtest.Exec(t, url, "INSERT INTO taskfeed.schema_version (version_id, is_applied) VALUES (900, true)")
		err := migrations.Up(t.Context(), url)
		if err == nil || !strings.Contains(err.Error(), "version 900") || !strings.Contains(err.Error(), "newer taskfeed") {
			t.Errorf("got %v, want an error with the pair of versions", err)
		}
	})
	t.Run("bad input 13: a database in SQL_ASCII", func(t *testing.T) {
		t.Parallel()
		server := pgtest.Empty(t)
		pgtest.Exec(t, server, "CREATE DATABASE ascii_only ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
		defer pgtest.Exec(t, server, "DROP DATABASE ascii_only WITH (FORCE)")
		url := server[:strings.LastIndex(server, "/")] + "/ascii_only" + server[strings.Index(server, "?"):]
		if err := migrations.Up(t.Context(), url); err == nil || !strings.Contains(err.Error(), "ENCODING 'UTF8'") {
			t.Errorf("got %v, want an error that says which encoding is needed", err)
		}
	})
	t.Run("bad input 74: objects that depend on ours", func(t *testing.T) {
		t.Parallel()
		url := pgtest.New(t)
		pgtest.Exec(t, url, `CREATE VIEW public.report AS SELECT id FROM taskfeed.tasks;
			CREATE TABLE public.files (task_id text REFERENCES taskfeed.tasks (id))`)
		err := migrations.Down(t.Context(), url)
		for _, want := range []string{"view report", "table files"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want an error that names %s", err, want)
			}
		}
		if v, err := migrations.Read(t.Context(), url); err != nil || !v.Current() {
			t.Errorf("the refused down changed the schema: %v (%v)", v, err)
		}
	})
}

// TestInterruptedUp cuts an Up off at every moment that a deadline can hit and
// proves that the next one completes what it left.
func TestInterruptedUp(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	for bound := 5 * time.Millisecond; ; bound = bound * 3 / 2 {
		ctx, cancel := context.WithTimeout(t.Context(), bound)
		err := migrations.Up(ctx, url)
		cancel()
		if err == nil {
			break
		}
	}
	mustUp(t, url)
	pgtest.Exec(t, url, "INSERT INTO taskfeed.tasks (user_id) VALUES ('alice')")
}

// TestLockedTable proves bad input 73: a migration gives up rather than have the
// app's writers queue behind it, and can be run again.
func TestLockedTable(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	app := pgtest.Connect(t, url)
	tx, err := app.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.WithoutCancel(t.Context()))
	if _, err := tx.Exec(t.Context(), "INSERT INTO taskfeed.tasks (user_id) VALUES ('alice')"); err != nil {
		t.Fatal(err)
	}
	if err := migrations.Down(t.Context(), url); err == nil || !strings.Contains(err.Error(), "lock timeout") {
		t.Errorf("got %v, want a lock timeout", err)
	}
}
