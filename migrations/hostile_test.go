package migrations_test

import (
	"testing"

	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/migrations"
)

// The schema comes out the same, and doctor finds nothing, whatever lies in public
// and whatever a database sets for its sessions: migrations run as a role with many
// rights, and doctor once called a time zone a problem.
func TestHostileDatabases(t *testing.T) {
	t.Parallel()
	texts := pgtest.Sources(t, "*.go", "*.sql")
	want := describe(t, pgtest.New(t))
	for how, prepare := range map[string]func(url string){
		"public full of better matches": func(url string) { pgtest.Hostile(t, url, texts...) },
		"settings of the database":      func(url string) { pgtest.Unsettle(t, url) },
	} {
		t.Run(how, func(t *testing.T) {
			url := pgtest.Empty(t)
			prepare(url)
			for range 2 { // the second finds nothing to do
				if err := migrations.Up(t.Context(), url); err != nil {
					t.Fatalf("up: %v", err)
				}
			}
			if v, err := migrations.Read(t.Context(), url); err != nil || !v.Current() {
				t.Errorf("versions: got %v, error %v, want the present one", v, err)
			}
			if got := describe(t, url); got != want {
				t.Errorf("the schema is not what it is elsewhere:\n%s", got)
			}
			if found, err := migrations.Inspect(t.Context(), url); err != nil || len(found) != 0 {
				t.Errorf("doctor: got %v, error %v, want no findings", found, err)
			}
			if err := migrations.Down(t.Context(), url); err != nil {
				t.Errorf("down: %v", err)
			}
		})
	}
}
