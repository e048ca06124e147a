package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/store/history"
)

// fakeHistory answers with what its fields say and keeps what it was asked.
type fakeHistory struct {
	mu       sync.Mutex
	tasks    []history.TaskQuery
	events   []history.EventQuery
	timeline []string // task, user, after and limit of each call

	page     history.TaskPage
	log      history.EventPage
	steps    history.Timeline
	stats    history.Stats
	statsErr error         // of Stats alone
	counted  int           // calls of Stats
	stalled  time.Duration // as last asked for
	standing []taskfeed.Task
	err      error
	exported iter.Seq2[taskfeed.Task, error]
	large    []history.LargeField
	texts    map[string][]string // pieces of large fields
	textErr  error               // after them
}

func (h *fakeHistory) ListTasks(_ context.Context, q history.TaskQuery) (history.TaskPage, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tasks = append(h.tasks, q)
	return h.page, h.err
}

func (h *fakeHistory) FindTask(_ context.Context, id string) (history.WholeTask, error) {
	return h.find(func(t *taskfeed.Task) bool { return t.ID == id })
}

func (h *fakeHistory) FindUserTask(_ context.Context, userID, id string) (history.WholeTask, error) {
	return h.find(func(t *taskfeed.Task) bool { return t.ID == id && t.UserID == userID })
}

func (h *fakeHistory) find(is func(*taskfeed.Task) bool) (history.WholeTask, error) {
	for _, t := range h.page.Items {
		if is(&t) {
			return history.WholeTask{Task: t, Large: h.large}, h.err
		}
	}
	return history.WholeTask{}, &taskfeed.Error{Code: taskfeed.CodeNotFound, Message: "there is no such task"}
}

func (h *fakeHistory) TaskText(_ context.Context, _ *history.WholeTask, f history.LargeField) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, piece := range h.texts[f.Name] {
			if !yield(piece, nil) {
				return
			}
		}
		if h.textErr != nil {
			yield("", h.textErr)
		}
	}
}

func (h *fakeHistory) ExportTasks(_ context.Context, q history.TaskQuery) iter.Seq2[taskfeed.Task, error] {
	if h.exported != nil {
		return h.exported
	}
	return func(yield func(taskfeed.Task, error) bool) {
		for _, t := range h.page.Items {
			if !yield(t, nil) {
				return
			}
		}
		if h.err != nil {
			yield(taskfeed.Task{}, h.err)
		}
	}
}

func (h *fakeHistory) ListEvents(_ context.Context, q history.EventQuery) (history.EventPage, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, q)
	return h.log, h.err
}

func (h *fakeHistory) TaskEvents(ctx context.Context, taskID, after string, limit int) (history.Timeline, error) {
	return h.UserTaskEvents(ctx, "", taskID, after, limit)
}

func (h *fakeHistory) UserTaskEvents(_ context.Context, userID, taskID, after string, limit int) (history.Timeline, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.timeline = append(h.timeline, fmt.Sprintf("%q %q %q %d", taskID, userID, after, limit))
	return h.steps, h.err
}

func (h *fakeHistory) ExportEvents(_ context.Context, q history.EventQuery) iter.Seq2[taskfeed.Event, error] {
	return func(yield func(taskfeed.Event, error) bool) {
		for _, e := range h.log.Items {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (h *fakeHistory) StalledTasks(_ context.Context, after time.Duration) ([]taskfeed.Task, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stalled = after
	return h.standing, h.err
}

func (h *fakeHistory) Stats(context.Context) (history.Stats, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counted++
	return h.stats, cmp.Or(h.statsErr, h.err)
}

// fakeCommands keeps the commands.
type fakeCommands struct {
	mu    sync.Mutex
	given []string
	err   error
}

func (f *fakeCommands) Command(_ context.Context, kind taskfeed.CommandKind, argument string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.given = append(f.given, string(kind)+" "+argument)
	return f.err
}

var sometime = time.Date(2026, 11, 22, 11, 0, 0, 123456000, time.FixedZone("", 3600))

func someTask(id, userID string) taskfeed.Task {
	return taskfeed.Task{ID: id, UserID: userID, Kind: "export", Status: taskfeed.StatusRunning, Progress: 40,
		Message: "a < b & c", Result: json.RawMessage(`{"n": 1}`), Version: 7, CreatedAt: sometime, UpdatedAt: sometime}
}

// adminToken returns a good token with the admin role.
func (f *fixture) adminToken() string {
	token := must(auth.Issue(authConfig, "root", auth.RoleAdmin, time.Hour))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.secrets = append(f.secrets, token)
	return token
}

// request makes a request with a token, and headers as name and value in turn.
func (f *fixture) request(method, path, token string, headers ...string) *http.Request {
	r := must(http.NewRequest(method, f.url+path, nil))
	r.Header.Set("Authorization", "Bearer "+token)
	for pair := range slices.Chunk(headers, 2) {
		r.Header.Add(pair[0], pair[1])
	}
	return r
}

// getAs asks for a URL with a token.
func (f *fixture) getAs(token, path string, headers ...string) (*http.Response, string) {
	f.t.Helper()
	return f.do(f.request(http.MethodGet, path, token, headers...))
}

// expectRefusal expects a problem document with this code, which names these
// parameters.
func (f *fixture) expectRefusal(resp *http.Response, body string, status int, code taskfeed.Code, fields ...string) {
	f.t.Helper()
	var p problemDocument
	_ = json.Unmarshal([]byte(body), &p) // the code is empty then
	var named []string
	for _, e := range p.Errors {
		named = append(named, e.Field)
	}
	if resp.StatusCode != status || p.Code != code || !slices.Equal(named, fields) {
		f.t.Errorf("%s %s: %d %s, want %d %s naming %q", resp.Request.Method, resp.Request.URL.RequestURI(), resp.StatusCode, body, status, code, fields)
	}
}

func serveREST(t *testing.T, h *fakeHistory, cfg Config) (*fixture, *fakeCommands) {
	t.Helper()
	commands := &fakeCommands{}
	return serve(t, setup{cfg: cfg, deps: Deps{History: h, Commands: commands}}), commands
}

// adminRoutes and userRoutes are all that take a token.
var (
	adminRoutes = []string{"GET /v1/tasks", "GET /v1/tasks/t1", "GET /v1/tasks/t1/events", "GET /v1/events", "GET /v1/stats", "GET /v1/metrics",
		"GET /v1/connections", "DELETE /v1/connections/aaaaaaaa-1", "DELETE /v1/users/bob/connections",
		"GET /v1/task-by-id?id=t1", "GET /v1/task-by-id/events?id=t1", "DELETE /v1/user-by-id/connections?id=bob"}
	userRoutes = []string{"GET /v1/me", "GET /v1/status", "GET /v1/me/tasks", "GET /v1/me/tasks/t1", "GET /v1/me/tasks/t1/events", "GET /v1/me/events",
		"GET /v1/me/task-by-id?id=t1", "GET /v1/me/task-by-id/events?id=t1"}
)

func TestAccess(t *testing.T) {
	t.Parallel()
	h := &fakeHistory{page: history.TaskPage{Items: []taskfeed.Task{someTask("t1", "alice"), someTask("t2", "bob")}}}
	f, _ := serveREST(t, h, Config{})
	alice, admin := f.token("alice"), f.adminToken()
	ask := func(route, token string) (*http.Response, string) {
		method, path, _ := strings.Cut(route, " ")
		r := f.request(method, path, token)
		if token == "" {
			r.Header.Del("Authorization")
		}
		return f.do(r)
	}
	t.Run("every route takes a token", func(t *testing.T) {
		var covered []string
		for _, route := range slices.Concat(adminRoutes, userRoutes) {
			resp, body := ask(route, "")
			f.expectRefusal(resp, body, 401, taskfeed.CodeBadToken)
			if got := resp.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer ") {
				t.Errorf("%s: WWW-Authenticate %q, want Bearer", route, got)
			}
			resp, body = ask(route, "forged")
			f.expectRefusal(resp, body, 401, taskfeed.CodeBadToken)
			covered = append(covered, strings.NewReplacer("?id=t1", "", "?id=bob", "", "/t1", "/:id", "/aaaaaaaa-1", "/:id", "/bob", "/:id").Replace(route))
		}
		for _, r := range f.handler.Routes() {
			if route := r.Method + " " + r.Path; strings.HasPrefix(r.Path, prefixAPI) && r.Method != http.MethodHead &&
				r.Path != "/v1/events/stream" && !slices.Contains(covered, route) {
				t.Errorf("the test does not know %s", route)
			}
		}
	})
	t.Run("bad input 48: an admin's route without the role", func(t *testing.T) {
		for _, route := range adminRoutes {
			resp, body := ask(route, alice)
			f.expectRefusal(resp, body, 403, taskfeed.CodeForbidden)
			if resp, body = ask(route, admin); resp.StatusCode >= 300 {
				t.Errorf("%s as admin: %d %s, want success", route, resp.StatusCode, body)
			}
		}
	})
	t.Run("bad input 48: another user's task", func(t *testing.T) {
		resp, foreign := f.getAs(alice, "/v1/me/tasks/t2", "X-Request-Id", "same")
		f.expectRefusal(resp, foreign, 404, taskfeed.CodeNotFound)
		_, missing := f.getAs(alice, "/v1/me/tasks/t3", "X-Request-Id", "same")
		if foreign != missing {
			t.Errorf("another's task is answered by %s, one that does not exist by %s; want no difference", foreign, missing)
		}
		if resp, body := f.getAs(alice, "/v1/me/tasks/t1"); resp.StatusCode != 200 {
			t.Errorf("own task: %d %s, want 200", resp.StatusCode, body)
		}
	})
	t.Run("a user's own lists cannot be turned to another user", func(t *testing.T) {
		for _, path := range []string{"/v1/me/tasks", "/v1/me/events"} {
			resp, body := f.getAs(alice, path+"?user_id=bob")
			f.expectRefusal(resp, body, 400, taskfeed.CodeBadRequest, "user_id")
			f.getAs(alice, path)
		}
		f.getAs(alice, "/v1/me/tasks/t2/events")
		h.mu.Lock()
		defer h.mu.Unlock()
		if got := h.tasks[len(h.tasks)-1].UserID; got != "alice" {
			t.Errorf("tasks of %q were read, want alice's", got)
		}
		if got := h.events[len(h.events)-1]; got.UserID != "alice" || !got.IncludeBroadcast {
			t.Errorf("events of %q were read, broadcasts %v; want alice's with them", got.UserID, got.IncludeBroadcast)
		}
		if got, want := h.timeline[len(h.timeline)-1], `"t2" "alice" "" 50`; got != want {
			t.Errorf("timeline read: %s, want %s", got, want)
		}
	})
	t.Run("a token in the URL is for feeds alone", func(t *testing.T) {
		resp, body := f.get("/v1/me?token=" + alice)
		f.expectRefusal(resp, body, 401, taskfeed.CodeBadToken)
		resp, body = f.getAs(alice, "/v1/me?token="+alice)
		f.expectRefusal(resp, body, 400, taskfeed.CodeBadRequest, "token")
		resp, body = f.getAs(alice, "/v1/me", "Authorization", "Bearer "+admin)
		f.expectRefusal(resp, body, 400, taskfeed.CodeAmbiguousCredentials)
	})
	t.Run("what the token says", func(t *testing.T) {
		resp, body := f.getAs(admin, "/v1/me")
		if want := `{"user_id":"root","role":"admin","admin":true,"expires_at":"`; resp.StatusCode != 200 || !strings.HasPrefix(body, want) {
			t.Errorf("%d %s, want %s…", resp.StatusCode, body, want)
		}
	})
}

func TestLists(t *testing.T) {
	t.Parallel()
	h := &fakeHistory{
		page: history.TaskPage{Items: []taskfeed.Task{someTask("t1", "alice")}, Next: "n+1", Cursor: 4711},
		log: history.EventPage{Items: []taskfeed.Event{{ID: 7, UserID: "alice", TaskID: "t1", Type: taskfeed.TypeTaskProgress,
			Version: 2, Data: json.RawMessage(`{"progress": 40}`), Timestamp: sometime}}},
	}
	f, _ := serveREST(t, h, Config{})
	admin := f.adminToken()

	t.Run("tasks", func(t *testing.T) {
		resp, body := f.getAs(admin, "/v1/tasks?user_id=al%20ice&status=queued,running&status=failed&kind=export&created_after=2026-11-22T10:00:00%2B01:00"+
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
		wantQuery := history.TaskQuery{UserID: "al ice", Statuses: []taskfeed.Status{"queued", "running", "failed"}, Kind: "export",
			Created: history.TimeRange{From: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC), To: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)},
			Text:    "50%", Sort: history.SortCreated, After: "abc", Limit: 7}
		if got := h.tasks[len(h.tasks)-1]; !reflect.DeepEqual(got, wantQuery) {
			t.Errorf("query %+v, want %+v", got, wantQuery)
		}
	})
	t.Run("the cursor comes where it is exact", func(t *testing.T) {
		for query, want := range map[string]bool{
			"": true, "?status=queued": true, "?sort=created": true, "?after=x": false, "?q=x": false,
			"?sort=updated": false, "?sort=-updated": false, "?updated_after=2026-11-22T10:00:00Z": false,
		} {
			if _, body := f.getAs(admin, "/v1/tasks"+query); strings.Contains(body, `"cursor":4711`) != want {
				t.Errorf("%q: %s, want a cursor: %v", query, body, want)
			}
		}
	})
	t.Run("events", func(t *testing.T) {
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
	})
	t.Run("an empty list", func(t *testing.T) {
		empty, _ := serveREST(t, &fakeHistory{}, Config{})
		if _, body := empty.getAs(empty.adminToken(), "/v1/events"); body != `{"items":[]}`+"\n" {
			t.Errorf("%s, want an empty list", body)
		}
	})
	t.Run("a timeline", func(t *testing.T) {
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
	})
	t.Run("statistics", func(t *testing.T) {
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
	})
	t.Run("an outage", func(t *testing.T) {
		down, _ := serveREST(t, &fakeHistory{err: &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "the database is away", Err: errors.New("hunter2")}}, Config{})
		token := down.adminToken()
		for _, path := range []string{"/v1/tasks", "/v1/events", "/v1/stats", "/v1/tasks/t1/events"} {
			resp, body := down.getAs(token, path)
			down.expectRefusal(resp, body, 503, taskfeed.CodeUnavailable)
			if resp.Header.Get("Retry-After") == "" || strings.Contains(body, "hunter2") {
				t.Errorf("%s: Retry-After %q, %s; want one, and no cause", path, resp.Header.Get("Retry-After"), body)
			}
		}
	})
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

// TestGoneClientIsNoError: a client that goes away in the middle of a query is
// no reason to wake an operator, any other canceled query is.
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
