package store_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store"
)

// sources returns the text of all Go files here and below, and of the migrations.
func sources(t *testing.T) []string {
	t.Helper()
	return pgtest.Sources(t, "*.go", "history/*.go", "internal/*/*.go", "../migrations/*.go", "../migrations/*.sql")
}

// Bad input 130. Any role that may create in public could have the server run its code,
// with the server's rights: c.relname ~ '…' has a name on its left, so an operator for
// names fits better than Postgres's own for text. Neither the server's statements nor
// its triggers in an app's session use anything there.
func TestNothingBindsToPublic(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	pgtest.Hostile(t, url, sources(t)...)

	careless, err := pgx.Connect(t.Context(), url) // no test's own, which would be careful
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer careless.Close(t.Context())
	var n int
	err = careless.QueryRow(t.Context(), "SELECT count(*) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE c.relname ~ '^events_[0-9]+$'").Scan(&n)
	if pgErr, ok := err.(*pgconn.PgError); !ok || pgErr.Code != "TF666" {
		t.Fatalf("a session that is not ours: got error %v, want it to bind to public", err)
	}

	clean := setup(t)
	want := newWorld(t, clean).run(t, "a clean database")
	f := setupAt(t, url)
	wantSame(t, "direct", newWorld(t, f).run(t, "direct"), want)

	pooledURL := pgtest.New(t)
	pgtest.Hostile(t, pooledURL, sources(t)...)
	f = setupAt(t, pooledURL)
	f.store = openStore(t, store.Config{URL: pooledURL, ListenURL: pooledURL + "&application_name=direct"})
	wantSame(t, "pooled", newWorld(t, f).run(t, "pooled"), want)
}
