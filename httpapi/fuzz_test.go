package httpapi

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/lab/wstest"
	"github.com/taskfeed/taskfeed/store/history"
)

// canary must not be in any refusal: a refusal never repeats what was sent.
const canary = "C4N4RY"

// FuzzFilters sends any query to the lists of the API. Either it is refused, with the
// names of the fields and without their values, or the store gets a valid query.
func FuzzFilters(f *testing.F) {
	h := &fakeHistory{}
	verifier := fakeVerifier(func(string) (auth.Principal, error) {
		return auth.Principal{UserID: "alice", Role: "admin", ExpiresAt: time.Now().Add(time.Hour)}, nil
	})
	s := must(New(Deps{Hub: must(hub.New(new(memLog), hub.Config{})), Verifier: verifier, History: h, Log: slog.New(slog.DiscardHandler)},
		Config{Addr: "127.0.0.1:0", RequestsPerMinute: -1}))
	paths := []string{"/v1/tasks", "/v1/events", "/v1/me/tasks", "/v1/me/events", "/v1/tasks/t1/events", "/v1/connections", "/v1/stats"}

	f.Fuzz(func(t *testing.T, path uint8, query string) {
		h.tasks, h.events, h.timeline = nil, nil, nil
		r := httptest.NewRequest(http.MethodGet, paths[int(path)%len(paths)], nil)
		r.URL.RawQuery = query
		r.Header.Set("Authorization", "Bearer x")
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		switch w.Code {
		case http.StatusOK:
			for _, q := range h.tasks {
				checkQuery(t, q.Limit, q.Sort, string(history.SortCreatedDesc)+string(history.SortUpdatedDesc), q.Created, q.UserID, q.Kind, q.Text, q.After)
				checkQuery(t, q.Limit, q.Sort, string(history.SortCreatedDesc)+string(history.SortUpdatedDesc), q.Updated)
			}
			for _, q := range h.events {
				checkQuery(t, q.Limit, q.Sort, string(history.SortIDDesc), q.Time, q.UserID, q.TaskID, q.After)
			}
		case http.StatusBadRequest:
			if code := wstest.ProblemCode(w.Body.Bytes()); code != taskfeed.CodeBadRequest || strings.Contains(w.Body.String(), canary) {
				t.Errorf("%s?%s: refused by %s, want bad_request without what was sent", r.URL.Path, query, w.Body)
			}
		case http.StatusRequestURITooLong:
		default:
			t.Errorf("%s?%s: %d %s, want 200 or 400", r.URL.Path, query, w.Code, w.Body)
		}
	})
}

// checkQuery checks that the store accepts the query.
func checkQuery(t *testing.T, limit int, sort history.Sort, sorts string, span history.TimeRange, texts ...string) {
	t.Helper()
	if limit < 1 || limit > history.MaxPageLimit || !strings.Contains(sorts, string(sort)) {
		t.Errorf("limit %d and sort %q reach the store", limit, sort)
	}
	if !span.From.IsZero() && !span.To.IsZero() && span.From.After(span.To) {
		t.Errorf("a span from %v to %v reaches the store", span.From, span.To)
	}
	for _, text := range texts {
		if !utf8.ValidString(text) || len(text) > 1024 || strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			t.Errorf("text %q reaches the store", text)
		}
	}
}
