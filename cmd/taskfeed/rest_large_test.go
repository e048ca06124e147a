package main

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// TestLargeResultsOverHTTP is bad input 2: a task with a result of any size is shown
// whole, and lists with it work.
func TestLargeResultsOverHTTP(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.New(t)
	s := startServing(t, dbURL)
	pgtest.Exec(t, dbURL, `
		ALTER TABLE taskfeed.tasks ALTER COLUMN result SET STORAGE EXTERNAL; -- spares the test the compression
		INSERT INTO taskfeed.tasks (id, user_id, status, result) VALUES
			('deep', 'alice', 'running', (repeat('[', 10000) || repeat(']', 10000))::jsonb),
			('long', 'alice', 'running', to_jsonb(repeat('x', 5000000))),
			('plain', 'alice', 'running', '{"n": 1}')`)
	settle(t, dbURL)
	admin, alice := apiOf(t, s, "root", auth.RoleAdmin), apiOf(t, s, "alice", "")
	for id, want := range map[string]string{
		"deep": strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000), "long": `"` + strings.Repeat("x", 5_000_000) + `"`,
	} {
		for _, a := range []*api{{t: t, base: admin.base + "/v1/tasks/", token: admin.token}, {t: t, base: alice.base + "/v1/me/tasks/", token: alice.token}} {
			resp, body := a.raw(id)
			head, result, _ := strings.Cut(body, `,"result":`)
			if resp.StatusCode != http.StatusOK || result != want+"}\n" || !json.Valid([]byte(head+"}")) {
				t.Errorf("task %s: %d with %d bytes, beginning with %.200s; want it whole with its result of %d bytes", id, resp.StatusCode, len(body), body, len(want))
			}
		}
	}
	for _, path := range []string{"/v1/tasks?sort=updated", "/v1/me/tasks", "/v1/me/tasks?status=running"} {
		a := admin
		if strings.Contains(path, "/me/") {
			a = alice
		}
		var page tasksPage
		a.get(path, &page)
		whole := map[string]bool{}
		for _, task := range page.Items {
			whole[task.ID] = task.Result != nil && task.Truncated == nil
		}
		if want := map[string]bool{"deep": false, "long": false, "plain": true}; !maps.Equal(whole, want) {
			t.Errorf("GET %s: whole %v, want %v", path, whole, want)
		}
	}
	for _, accept := range []string{"text/csv", "application/x-ndjson"} {
		if resp, body := admin.do(http.MethodGet, "/v1/tasks", "Accept", accept); resp.StatusCode != http.StatusOK || len(body) > 10_000 || strings.Count(body, "\n") < 3 {
			t.Errorf("export as %s: %d with %d bytes, want three short lines", accept, resp.StatusCode, len(body))
		}
	}
	for _, path := range []string{"/v1/stats", "/v1/events", "/v1/tasks/deep/events", "/v1/me/tasks/long/events"} {
		a := admin
		if strings.Contains(path, "/me/") {
			a = alice
		}
		var any json.RawMessage
		a.get(path, &any)
	}
}

// raw requests a path below base without checking the answer against the contract, whose
// JSON reader allows less nesting than an app may use.
func (a *api) raw(path string) (*http.Response, string) {
	a.t.Helper()
	r, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, a.base+path, nil)
	if err != nil {
		a.t.Fatalf("make a request: %v", err)
	}
	r.Header.Set("Authorization", "Bearer "+a.token)
	r.Close = true
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		a.t.Fatalf("GET %s: %v", path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatalf("GET %s: read the answer: %v", path, err)
	}
	return resp, string(body)
}
