package store_test

import (
	"testing"

	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/migrations"
	"github.com/taskfeed/taskfeed/store"
)

// A URL that comes from an app may say how pgx sends its statements. With
// simple_protocol no server saw an admin's command to disconnect a user, and with a
// cache of no statements none started. Every surface answers in every mode and with
// caches of any size, doctor and migrations too.
func TestModesOfStatements(t *testing.T) {
	t.Parallel()
	want := newWorld(t, setup(t)).run(t, "as usual")
	for _, parameters := range []string{
		"&default_query_exec_mode=cache_describe", "&default_query_exec_mode=describe_exec", "&default_query_exec_mode=exec", "&default_query_exec_mode=simple_protocol",
		"&statement_cache_capacity=0", "&statement_cache_capacity=-1&description_cache_capacity=-1", "&statement_cache_capacity=1",
		"&default_query_exec_mode=cache_describe&description_cache_capacity=0",
	} {
		t.Run(parameters, func(t *testing.T) {
			t.Parallel()
			url := pgtest.New(t)
			withMode := url + parameters
			f := &fixture{url: url, store: openStore(t, store.Config{URL: withMode}), app: pgtest.Connect(t, url)}
			f.session = openSession(t, f.store)
			wantSame(t, parameters, newWorld(t, f).run(t, parameters), want)
			if found, err := migrations.Inspect(t.Context(), withMode); err != nil || len(found) > 0 {
				t.Errorf("doctor: got %v, error %v, want no findings", found, err)
			}
			if err := migrations.Up(t.Context(), withMode); err != nil {
				t.Errorf("migrate: %v", err)
			}
		})
	}
}
