package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestEmptyPages: the list of a rare type has empty pages. Each form of output continues
// after them and shows all items.
func TestEmptyPages(t *testing.T) {
	t.Parallel()
	event := func(id int) string {
		return fmt.Sprintf(`{"id":%d,"type":"rare","timestamp":"2026-11-22T10:00:00Z","data":{}}`, id)
	}
	pages := map[string]string{
		"":  `{"items":[],"next":"a"}`,
		"a": `{"items":[` + event(9) + `],"next":"b"}`,
		"b": `{"items":[],"next":"c"}`,
		"c": `{"items":[` + event(3) + `],"next":"d"}`,
		"d": `{"items":[]}`,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, pages[r.URL.Query().Get("after")]) // a test's client is there
	}))
	t.Cleanup(server.Close)
	env := []string{"TASKFEED_URL=" + server.URL, "TASKFEED_TOKEN=x"}
	for output, want := range map[string]string{
		"ndjson": event(9) + "\n" + event(3) + "\n",
		"json":   "[\n" + event(9) + ",\n" + event(3) + "\n]\n",
	} {
		r := runCLI(t, env, "events", "--type", "rare", "--output", output)
		if r.status != 0 || r.stdout != want {
			t.Errorf("%s: exit status %d, %q, %s; want %q", output, r.status, r.stdout, r.stderr, want)
		}
	}
	r := runCLI(t, env, "events", "--type", "rare")
	r.expect(t, 0, "")
	if want := 3; strings.Count(r.stdout, "\n") != want {
		t.Errorf("table: %q, want %d lines", r.stdout, want)
	}
	r = runCLI(t, env, "events", "--type", "rare", "--limit", "1", "--output", "ndjson")
	if want := event(9) + "\n"; r.stdout != want {
		t.Errorf("one event at most: %q, want %q", r.stdout, want)
	}
}
