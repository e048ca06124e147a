package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/store/history"
)

// adminRoutes and userRoutes are all routes that need a token.
var (
	adminRoutes = []string{"GET /v1/tasks", "GET /v1/tasks/t1", "GET /v1/tasks/t1/events", "GET /v1/events", "GET /v1/stats", "GET /v1/metrics",
		"GET /v1/connections", "GET /v1/sources", "DELETE /v1/connections/aaaaaaaa-1", "DELETE /v1/users/bob/connections",
		"GET /v1/task-by-id?id=t1", "GET /v1/task-by-id/events?id=t1", "DELETE /v1/user-by-id/connections?id=bob"}
	userRoutes = []string{"GET /v1/me", "GET /v1/status", "GET /v1/me/tasks", "GET /v1/me/tasks/t1", "GET /v1/me/tasks/t1/events", "GET /v1/me/events",
		"POST /v1/me/messages", "GET /v1/me/task-by-id?id=t1", "GET /v1/me/task-by-id/events?id=t1"}
)

// access is a server with a task of alice and one of bob.
type access struct {
	*fixture
	history      *fakeHistory
	alice, admin string // their tokens
}

func serveAccess(t *testing.T) *access {
	t.Helper()
	h := &fakeHistory{page: history.TaskPage{Items: []taskfeed.Task{someTask("t1", "alice"), someTask("t2", "bob")}}}
	f, _ := serveREST(t, h, Config{})
	return &access{fixture: f, history: h, alice: f.token("alice"), admin: f.adminToken()}
}

// ask requests a route with a token, or without one if it is empty.
func (a *access) ask(route, token string) (*http.Response, string) {
	a.t.Helper()
	method, path, _ := strings.Cut(route, " ")
	r := a.request(method, path, token)
	if token == "" {
		r.Header.Del("Authorization")
	}
	return a.do(r)
}

func TestEveryRouteNeedsAToken(t *testing.T) {
	t.Parallel()
	a := serveAccess(t)
	var covered []string
	for _, route := range slices.Concat(adminRoutes, userRoutes) {
		resp, body := a.ask(route, "")
		a.expectRefusal(resp, body, 401, taskfeed.CodeBadToken)
		if got := resp.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer ") {
			t.Errorf("%s: WWW-Authenticate %q, want Bearer", route, got)
		}
		resp, body = a.ask(route, "forged")
		a.expectRefusal(resp, body, 401, taskfeed.CodeBadToken)
		covered = append(covered, strings.NewReplacer("?id=t1", "", "?id=bob", "", "/t1", "/:id", "/aaaaaaaa-1", "/:id", "/bob", "/:id").Replace(route))
	}
	for _, r := range a.handler.Routes() {
		if route := r.Method + " " + r.Path; strings.HasPrefix(r.Path, prefixAPI) && r.Method != http.MethodHead &&
			r.Path != "/v1/events/stream" && !slices.Contains(covered, route) {
			t.Errorf("the test does not know %s", route)
		}
	}
}

func TestBadInput48Access(t *testing.T) {
	t.Parallel()
	a := serveAccess(t)

	t.Run("an admin route without the role", func(t *testing.T) {
		for _, route := range adminRoutes {
			resp, body := a.ask(route, a.alice)
			a.expectRefusal(resp, body, 403, taskfeed.CodeForbidden)
			if resp, body = a.ask(route, a.admin); resp.StatusCode >= 300 {
				t.Errorf("%s as admin: %d %s, want success", route, resp.StatusCode, body)
			}
		}
	})
	t.Run("another user's task", func(t *testing.T) {
		resp, foreign := a.getAs(a.alice, "/v1/me/tasks/t2", "X-Request-Id", "same")
		a.expectRefusal(resp, foreign, 404, taskfeed.CodeNotFound)
		_, missing := a.getAs(a.alice, "/v1/me/tasks/t3", "X-Request-Id", "same")
		if foreign != missing {
			t.Errorf("another's task is answered by %s, one that does not exist by %s; want no difference", foreign, missing)
		}
		if resp, body := a.getAs(a.alice, "/v1/me/tasks/t1"); resp.StatusCode != 200 {
			t.Errorf("own task: %d %s, want 200", resp.StatusCode, body)
		}
	})
}

// TestOwnListsOnly: no parameter lets a user's own lists show another user's rows.
func TestOwnListsOnly(t *testing.T) {
	t.Parallel()
	a := serveAccess(t)
	for _, path := range []string{"/v1/me/tasks", "/v1/me/events"} {
		resp, body := a.getAs(a.alice, path+"?user_id=bob")
		a.expectRefusal(resp, body, 400, taskfeed.CodeBadRequest, "user_id")
		a.getAs(a.alice, path)
	}
	a.getAs(a.alice, "/v1/me/tasks/t2/events")
	a.history.mu.Lock()
	defer a.history.mu.Unlock()
	if got := a.history.tasks[len(a.history.tasks)-1].UserID; got != "alice" {
		t.Errorf("tasks of %q were read, want alice's", got)
	}
	if got := a.history.events[len(a.history.events)-1]; got.UserID != "alice" || !got.IncludeBroadcast {
		t.Errorf("events of %q were read, broadcasts %v; want alice's with them", got.UserID, got.IncludeBroadcast)
	}
	if got, want := a.history.timeline[len(a.history.timeline)-1], `"t2" "alice" "" 50`; got != want {
		t.Errorf("timeline read: %s, want %s", got, want)
	}
}

func TestTokensOfREST(t *testing.T) {
	t.Parallel()
	a := serveAccess(t)

	t.Run("only feeds take a token in the URL", func(t *testing.T) {
		resp, body := a.get("/v1/me?token=" + a.alice)
		a.expectRefusal(resp, body, 401, taskfeed.CodeBadToken)
		resp, body = a.getAs(a.alice, "/v1/me?token="+a.alice)
		a.expectRefusal(resp, body, 400, taskfeed.CodeBadRequest, "token")
		resp, body = a.getAs(a.alice, "/v1/me", "Authorization", "Bearer "+a.admin)
		a.expectRefusal(resp, body, 400, taskfeed.CodeAmbiguousCredentials)
	})
	t.Run("what the token says", func(t *testing.T) {
		resp, body := a.getAs(a.admin, "/v1/me")
		if want := `{"user_id":"root","role":"admin","admin":true,"expires_at":"`; resp.StatusCode != 200 || !strings.HasPrefix(body, want) {
			t.Errorf("%d %s, want %s…", resp.StatusCode, body, want)
		}
	})
}

func TestListTasks(t *testing.T) {
	t.Parallel()
	h := &fakeHistory{page: history.TaskPage{Items: []taskfeed.Task{someTask("t1", "alice")}, Next: "n+1", Cursor: 4711}}
	f, _ := serveREST(t, h, Config{})
	admin := f.adminToken()
	resp, body := f.getAs(admin, "/v1/tasks?user_id=al%20ice&status=queued,running&status=failed&kind=export&source=exports&created_after=2026-11-22T10:00:00%2B01:00"+
		"&created_before=2026-11-23T00:00:00Z&q=50%25&sort=created&limit=7&after=abc")
	want := `{"items":[{"id":"t1","user_id":"alice","kind":"export","status":"running","progress":40,"message":"a < b & c",` +
		`"result":{"n":1},"version":7,"created_at":"2026-11-22T10:00:00.123456Z","updated_at":"2026-11-22T10:00:00.123456Z"}],"next":"n+1"}` + "\n"
	if resp.StatusCode != 200 || body != want || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s %s, want no-store and %s", resp.StatusCode, resp.Header.Get("Cache-Control"), body, want)
	}
	next := linkOf(t, resp)
	if got := next.Query(); got.Get("after") != "n+1" || got.Get("limit") != "7" || !slices.Equal(got["status"], []string{"queued,running", "failed"}) || next.Path != "/v1/tasks" {
		t.Errorf("next page at %s, want the same with after=n+1", next)
	}
	wantQuery := history.TaskQuery{UserID: "al ice", Statuses: []taskfeed.Status{"queued", "running", "failed"}, Kind: "export", Source: "exports",
		Created: history.TimeRange{From: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC), To: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)},
		Text:    "50%", Sort: history.SortCreated, After: "abc", Limit: 7}
	if got := h.tasks[len(h.tasks)-1]; !reflect.DeepEqual(got, wantQuery) {
		t.Errorf("query %+v, want %+v", got, wantQuery)
	}
}

// TestListTasksCursor: a list has a cursor only where following the feed from it
// misses nothing of the list.
func TestListTasksCursor(t *testing.T) {
	t.Parallel()
	h := &fakeHistory{page: history.TaskPage{Items: []taskfeed.Task{someTask("t1", "alice")}, Next: "n+1", Cursor: 4711}}
	f, _ := serveREST(t, h, Config{})
	admin := f.adminToken()
	for query, want := range map[string]bool{
		"": true, "?status=queued": true, "?sort=created": true, "?after=x": false, "?q=x": false,
		"?sort=updated": false, "?sort=-updated": false, "?updated_after=2026-11-22T10:00:00Z": false,
	} {
		if _, body := f.getAs(admin, "/v1/tasks"+query); strings.Contains(body, `"cursor":4711`) != want {
			t.Errorf("%q: %s, want a cursor: %v", query, body, want)
		}
	}
}

func TestListEvents(t *testing.T) {
	t.Parallel()
	h := &fakeHistory{log: history.EventPage{Items: []taskfeed.Event{{ID: 7, UserID: "alice", TaskID: "t1", Type: taskfeed.TypeTaskProgress,
		Version: 2, Data: json.RawMessage(`{"progress": 40}`), Timestamp: sometime}}}}
	f, _ := serveREST(t, h, Config{})
	admin := f.adminToken()
	resp, body := f.getAs(admin, "/v1/events?task_id=t1&type=task_progress,mail&since=2026-11-22T10:00:00Z&until=2026-11-22T10:00:00Z&sort=id")
	want := `{"items":[{"id":7,"type":"task_progress","timestamp":"2026-11-22T10:00:00.123456Z","user_id":"alice","task_id":"t1","version":2,"data":{"progress":40}}]}` + "\n"
	if resp.StatusCode != 200 || body != want || resp.Header.Get("Link") != "" {
		t.Errorf("%d %s, Link %q; want %s and no link", resp.StatusCode, body, resp.Header.Get("Link"), want)
	}
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	wantQuery := history.EventQuery{TaskID: "t1", Types: []taskfeed.Type{"task_progress", "mail"}, Time: history.TimeRange{From: at, To: at}, Sort: history.SortID, Limit: 50}
	if got := h.events[len(h.events)-1]; !reflect.DeepEqual(got, wantQuery) {
		t.Errorf("query %+v, want %+v", got, wantQuery)
	}
	f.getAs(admin, "/v1/events?user_id=alice")
	if got := h.events[len(h.events)-1]; got.UserID != "alice" || !got.IncludeBroadcast || got.Sort != history.SortIDDesc {
		t.Errorf("query %+v, want what alice was told, newest first", got)
	}
}

func TestEmptyList(t *testing.T) {
	t.Parallel()
	f, _ := serveREST(t, &fakeHistory{}, Config{})
	if _, body := f.getAs(f.adminToken(), "/v1/events"); body != `{"items":[]}`+"\n" {
		t.Errorf("%s, want an empty list", body)
	}
}

func TestTaskTimeline(t *testing.T) {
	t.Parallel()
	h := &fakeHistory{}
	f, _ := serveREST(t, h, Config{})
	admin := f.adminToken()
	h.steps = history.Timeline{
		EventPage: history.EventPage{Items: []taskfeed.Event{
			{ID: 1, UserID: "alice", TaskID: "t1", Type: taskfeed.TypeTaskQueued, Version: 1, Data: json.RawMessage(`{}`), Timestamp: sometime},
			{ID: 2, UserID: "alice", TaskID: "t1", Type: taskfeed.TypeTaskStarted, Version: 2, Data: json.RawMessage(`{}`), Timestamp: sometime.Add(1500250 * time.Microsecond)},
		}},
		Summary: &history.TaskSummary{Events: 2, Attempts: 1, Queued: 1500250 * time.Microsecond, First: sometime, Last: sometime},
	}
	_, body := f.getAs(admin, "/v1/tasks/t1/events?limit=500&after=x")
	for _, want := range []string{`"data":{}},{"id":2`, `"since_previous_ms":1500.25`, `"queued_ms":1500.25`, `"attempts":1`, `"first":"2026-11-22T10:00:00.123456Z"`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s lacks %s", body, want)
		}
	}
	if got, want := h.timeline[len(h.timeline)-1], `"t1" "" "x" 500`; got != want {
		t.Errorf("timeline read: %s, want %s", got, want)
	}
	h.steps.Previous, h.steps.Summary = sometime.Add(-time.Second), nil
	if _, body := f.getAs(admin, "/v1/tasks/t1/events"); !strings.Contains(body, `"since_previous_ms":1000}`) || strings.Contains(body, "summary") {
		t.Errorf("%s, want the time since the page before and no summary", body)
	}
}

func TestStatistics(t *testing.T) {
	t.Parallel()
	h := &fakeHistory{}
	f, _ := serveREST(t, h, Config{})
	admin := f.adminToken()
	running := someTask("t9", "bob")
	h.stats = history.Stats{Counts: []history.StatusCount{{Status: "queued", Kind: "", Count: 3}},
		PerMinute: []history.MinuteCount{{Minute: sometime, Count: 4}}, OldestRunning: &running}
	h.standing = []taskfeed.Task{running}
	_, body := f.getAs(admin, "/v1/stats?stalled_after=90s")
	for _, want := range []string{`{"status":"queued","count":3}`, `"events_per_minute":[{"minute":"2026-11-22T10:00:00.123456Z","count":4}]`,
		`"oldest_running":{"id":"t9"`, `"stalled":[{"id":"t9"`, `"stalled_after_seconds":90,"age_seconds":`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s lacks %s", body, want)
		}
	}
	h.stats = history.Stats{}
	f.getAs(admin, "/v1/stats")
	if h.stalled != 10*time.Minute {
		t.Errorf("stalled after %v, want %v by default", h.stalled, 10*time.Minute)
	}
}

func TestListsDuringOutage(t *testing.T) {
	t.Parallel()
	down, _ := serveREST(t, &fakeHistory{err: &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "the database is away", Err: errors.New("hunter2")}}, Config{})
	token := down.adminToken()
	for _, path := range []string{"/v1/tasks", "/v1/events", "/v1/stats", "/v1/tasks/t1/events"} {
		resp, body := down.getAs(token, path)
		down.expectRefusal(resp, body, 503, taskfeed.CodeUnavailable)
		if resp.Header.Get("Retry-After") == "" || strings.Contains(body, "hunter2") {
			t.Errorf("%s: Retry-After %q, %s; want one, and no cause", path, resp.Header.Get("Retry-After"), body)
		}
	}
}

// linkOf returns the next page's URL.
func linkOf(t *testing.T, resp *http.Response) *url.URL {
	t.Helper()
	link, ok := strings.CutSuffix(resp.Header.Get("Link"), `>; rel="next"`)
	link, begins := strings.CutPrefix(link, "<")
	if !ok || !begins {
		t.Fatalf("Link %q, want a next page", resp.Header.Get("Link"))
	}
	return must(resp.Request.URL.Parse(link))
}

func TestETag(t *testing.T) {
	t.Parallel()
	h := &fakeHistory{page: history.TaskPage{Items: []taskfeed.Task{someTask("a/b", "alice")}}}
	f, _ := serveREST(t, h, Config{})
	token := f.token("alice")
	const path = "/v1/me/tasks/a%2Fb"
	resp, _ := f.getAs(token, path)
	tag := resp.Header.Get("ETag")
	if resp.StatusCode != 200 || !strings.HasPrefix(tag, `"7-`) || resp.Header.Get("Cache-Control") != "private, no-cache" {
		t.Fatalf("%d ETag %s, Cache-Control %s; want one by version", resp.StatusCode, tag, resp.Header.Get("Cache-Control"))
	}
	for header, want := range map[string]int{tag: 304, "W/" + tag: 304, `"x", ` + tag: 304, "*": 304, `"7-x"`: 200, tag[:len(tag)-1]: 200} {
		resp, body := f.getAs(token, path, "If-None-Match", header)
		if resp.StatusCode != want || want == 304 && (body != "" || resp.Header.Get("ETag") != tag) {
			t.Errorf("If-None-Match %s: %d %q, want %d", header, resp.StatusCode, body, want)
		}
	}
	h.page.Items[0].UpdatedAt = sometime.Add(time.Microsecond)
	if resp, _ := f.getAs(token, path, "If-None-Match", tag); resp.StatusCode != 200 {
		t.Errorf("another task of this id and version: %d, want 200", resp.StatusCode)
	}
	if resp, _ := f.getAs(f.token("bob"), path, "If-None-Match", "*"); resp.StatusCode != 404 {
		t.Errorf("another's task with If-None-Match: %d, want 404", resp.StatusCode)
	}
}

// TestGoneClientIsNoError: a query that is canceled because its client disconnected
// is not logged as an error; any other canceled query is.
func TestGoneClientIsNoError(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	err := fmt.Errorf("list tasks: %w", context.Canceled)
	here := httptest.NewRequest(http.MethodGet, "/v1/tasks", nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, r := range []*http.Request{here, here.WithContext(ctx)} {
		f.handleError(request.BlameClient(r.Context(), err), echo.New().NewContext(r, httptest.NewRecorder()))
	}
	if errs, all := len(f.logs.lines(`"level":"ERROR"`, "list tasks")), len(f.logs.lines("list tasks")); errs != 1 || all != 1 {
		t.Errorf("%d lines, %d of them errors, want one error:\n%s", all, errs, f.logs)
	}
}
