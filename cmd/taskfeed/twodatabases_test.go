package main

import (
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// The direct URL leads to a database of its own: nothing is migrated there, and nobody
// waits for events that never come.
func TestTwoDatabases(t *testing.T) {
	t.Parallel()
	one, other := pgtest.New(t), pgtest.Empty(t)
	env := []string{"DATABASE_URL=" + one, "TASKFEED_LISTEN_DATABASE_URL=" + other, "TASKFEED_JWT_SECRET=" + strings.Repeat("s", 32), "PORT=0"}
	for _, command := range [][]string{{"serve"}, {"migrate", "up"}, {"migrate", "status"}, {"doctor"}} {
		status, stdout, stderr := try(t, env, command...)
		if said := stdout + stderr; status == 0 || !strings.Contains(said, "DATABASE_URL leads to the database") || !strings.Contains(said, "another one") {
			t.Errorf("%v: status %d and %q, want it refused with both databases", command, status, said)
		}
	}
	conn := pgtest.Connect(t, other)
	var there bool
	if err := conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'taskfeed')").Scan(&there); err != nil || there {
		t.Errorf("the other database has a schema: %t (%v), want it left alone", there, err)
	}
}
