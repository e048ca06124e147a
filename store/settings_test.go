package store_test

import (
	"testing"

	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store"
)

// Bad input 131. ALTER DATABASE and ALTER ROLE set parameters of sessions for apps.
// With another date style every list answered 500; with another encoding the events of
// zoë went to zoÃ«, or the feed stopped at a €; with standard_conforming_strings off no
// backlog could be moved. Every surface answers as on a database without such settings,
// over a direct URL and through a pooler.
func TestSettingsOfOthersChangeNothing(t *testing.T) {
	t.Parallel()
	clean := setup(t)
	want := newWorld(t, clean).run(t, "a clean database")
	for _, how := range []string{"direct", "pooled"} {
		url := pgtest.New(t)
		pgtest.Unsettle(t, url)
		f := setupAt(t, url)
		if how == "pooled" {
			f.store = openStore(t, store.Config{URL: url, ListenURL: url + "&application_name=direct"})
		}
		f.app = pgtest.Connect(t, url+"&client_encoding=UTF8") // what this app sends; all else is as it is set
		wantSame(t, how, newWorld(t, f).run(t, how), want)
	}
}
