package store_test

import (
	"testing"

	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/migrations"
	"github.com/taskfeed/taskfeed/store"
)

// Bad input 136. Poolers refuse a connection that begins with search_path. Everything works
// through such a one without a word in the settings, migrations and doctor too, and
// as safely: what is set for the database and lies in public changes nothing.
func TestPoolersThatRefuseParameters(t *testing.T) {
	t.Parallel()
	want := newWorld(t, setup(t)).run(t, "a clean database")
	url := pgtest.New(t)
	pgtest.Hostile(t, url, sources(t)...)
	pgtest.Unsettle(t, url)
	picky := pgtest.Picky(t, url)
	f := &fixture{url: url, store: openStore(t, store.Config{URL: picky}), app: pgtest.Connect(t, url+"&client_encoding=UTF8")}
	f.session = openSession(t, f.store)
	wantSame(t, "refused parameters", newWorld(t, f).run(t, "refused parameters"), want)
	if found, err := migrations.Inspect(t.Context(), picky); err != nil || len(found) > 0 {
		t.Errorf("doctor: got %v, error %v, want no findings", found, err)
	}
	if err := migrations.Up(t.Context(), picky); err != nil {
		t.Errorf("migrate: %v", err)
	}
}
