package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// Every sample changes the user's own task as its name says, and no other task.
func TestSamples(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := samples{url}
	pgtest.Exec(t, url, "INSERT INTO taskfeed.tasks (id, user_id) VALUES ('mine', 'o''hara'), ('sample-theirs', 'bob')")

	if _, err := s.Run(t.Context(), "o'hara", "progress"); taskfeed.CodeOf(err) != taskfeed.CodeNotFound {
		t.Errorf("progress without a sample task: got %v, want code not_found", err)
	}
	if _, err := s.Run(t.Context(), "o'hara", "drop"); taskfeed.CodeOf(err) != taskfeed.CodeBadRequest {
		t.Errorf("an unknown action: got %v, want code bad_request", err)
	}
	for _, action := range []string{"create", "progress", "complete", "create", "fail", "create", "delete", "burst", "notify"} {
		statement, err := s.Run(t.Context(), "o'hara", action)
		if err != nil {
			t.Fatalf("%s: %v", action, err)
		}
		if !strings.Contains(statement, "'o''hara'") || strings.Contains(statement, "@user") {
			t.Errorf("%s: statement %q, want one that names the user as SQL does", action, statement)
		}
	}
	const count = `SELECT string_agg(status || ' ' || n, ', ' ORDER BY status)
		FROM (SELECT status, count(*) AS n FROM taskfeed.tasks WHERE user_id = 'o''hara' AND id LIKE 'sample-%' GROUP BY status) AS c`
	if got, want := queryValue[string](t, url, count), "completed 1, failed 1, queued 100"; got != want {
		t.Errorf("tasks after the samples: got %s, want %s", got, want)
	}
	const others = "SELECT count(*) FROM taskfeed.tasks WHERE id IN ('mine', 'sample-theirs') AND status = 'queued' AND version = 1"
	if got := queryValue[int](t, url, others); got != 2 {
		t.Errorf("tasks that are none of the samples' business and unchanged: got %d, want 2", got)
	}
}

// queryValue returns the one value of the one row that a query returns.
func queryValue[T any](t *testing.T, url, sql string) (value T) {
	t.Helper()
	if err := pgtest.Connect(t, url).QueryRow(t.Context(), sql).Scan(&value); err != nil {
		t.Fatalf("query: %v", err)
	}
	return value
}

// A server that is not for development has no samples.
func TestServeHasNoSamples(t *testing.T) {
	t.Parallel()
	s := startServing(t, pgtest.New(t))
	if status, _ := get(t, s.base+"/dev/sample"); status != http.StatusNotFound {
		t.Errorf("GET /dev/sample: status %d, want 404", status)
	}
}
