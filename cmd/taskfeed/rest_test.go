package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/contract"
	"github.com/taskfeed/taskfeed/lab/contracttest"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/lab/ssetest"
)

// api sends requests with one token and checks every answer against the contract.
type api struct {
	t        testing.TB
	base     string
	token    string
	contract *contracttest.Contract
}

func apiOf(t testing.TB, s *serving, user, role string) *api {
	t.Helper()
	return &api{t, s.base, testTokenWithRole(t, user, role), theContract(t)}
}

var (
	loadContract   sync.Once
	loadedContract *contracttest.Contract
)

func theContract(t testing.TB) *contracttest.Contract {
	t.Helper()
	loadContract.Do(func() { loadedContract = contracttest.Load(t, contract.Files) })
	if loadedContract == nil {
		t.Fatal("the contract could not be loaded")
	}
	return loadedContract
}

// do makes a request; headers are name and value in turn.
func (a *api) do(method, path string, headers ...string) (*http.Response, string) {
	a.t.Helper()
	r, err := http.NewRequestWithContext(a.t.Context(), method, a.base+path, nil)
	if err != nil {
		a.t.Fatalf("make a request: %v", err)
	}
	r.Header.Set("Authorization", "Bearer "+a.token)
	for pair := range slices.Chunk(headers, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	r.Close = true
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatalf("%s %s: read the answer: %v", method, path, err)
	}
	a.contract.CheckAnswer(a.t, r, resp, body)
	return resp, string(body)
}

// get requests a URL, expects status 200, and decodes the JSON into v.
func (a *api) get(path string, v any) *http.Response {
	a.t.Helper()
	resp, body := a.do(http.MethodGet, path)
	if resp.StatusCode != http.StatusOK {
		a.t.Fatalf("GET %s: %d %s, want 200", path, resp.StatusCode, body)
	}
	if err := json.Unmarshal([]byte(body), v); err != nil {
		a.t.Fatalf("GET %s: %v in %s", path, err, body)
	}
	return resp
}

// refused expects an error with this code that names these parameters.
func (a *api) refused(path string, status int, code taskfeed.Code, fields ...string) {
	a.t.Helper()
	resp, body := a.do(http.MethodGet, path)
	var problem struct {
		Code   taskfeed.Code
		Errors []struct{ Field string }
	}
	_ = json.Unmarshal([]byte(body), &problem) // the code is empty then
	var named []string
	for _, e := range problem.Errors {
		named = append(named, e.Field)
	}
	if resp.StatusCode != status || problem.Code != code || !slices.Equal(named, fields) {
		a.t.Errorf("GET %s: %d %s, want %d %s naming %q", path, resp.StatusCode, body, status, code, fields)
	}
}

// tasksPage and eventsPage are lists as clients read them.
type tasksPage struct {
	Items  []taskfeed.Task
	Next   string
	Cursor *taskfeed.Cursor
}

type eventsPage struct {
	Items []struct {
		ID      taskfeed.Cursor
		Type    taskfeed.Type
		UserID  string `json:"user_id"`
		TaskID  string `json:"task_id"`
		Version int64
		Data    json.RawMessage
	}
	Next string
}

// stream opens a stream of server-sent events.
func (a *api) stream(params string) *ssetest.Client {
	a.t.Helper()
	return ssetest.Open(a.t, a.base+"/v1/events/stream?"+params, http.Header{"Authorization": {"Bearer " + a.token}})
}

// settle waits until the log holds every change.
func settle(t *testing.T, databaseURL string) {
	t.Helper()
	conn := pgtest.Connect(t, databaseURL)
	eventually(t, "every change is in the log", 15*time.Second, func() bool {
		var waiting bool
		if err := conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM taskfeed.changes)").Scan(&waiting); err != nil {
			t.Fatalf("look for changes: %v", err)
		}
		return !waiting
	})
}

// historyServer is a server with a small history, as an admin and as alice.
type historyServer struct {
	dbURL        string
	admin, alice *api
}

func TestHistoryOverHTTP(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.New(t)
	s := startServing(t, dbURL)
	pgtest.Exec(t, dbURL, `
		INSERT INTO taskfeed.tasks (id, user_id, kind) SELECT 'a' || i, 'alice', 'export' FROM generate_series(1, 7) AS i;
		INSERT INTO taskfeed.tasks (id, user_id, status) VALUES ('b1', 'bob', 'running');
		UPDATE taskfeed.tasks SET status = 'running' WHERE id = 'a1';
		UPDATE taskfeed.tasks SET progress = 50, message = '50% of "it" _done_ \ ok' WHERE id = 'a1';
		UPDATE taskfeed.tasks SET status = 'completed', result = '{"n": [1, 2.5, "x"]}' WHERE id = 'a1';
		DELETE FROM taskfeed.tasks WHERE id = 'a7';
		SELECT taskfeed.broadcast('news', '{"text": "hello"}')`)
	settle(t, dbURL)
	h := &historyServer{dbURL, apiOf(t, s, "root", auth.RoleAdmin), apiOf(t, s, "alice", "")}
	t.Run("tasks page by page", func(t *testing.T) { checkTaskPages(t, h) })
	t.Run("bad input 43: a page token of another filter", func(t *testing.T) { checkForeignPageTokens(t, h) })
	t.Run("bad input 46: filters are data", func(t *testing.T) { checkFilters(t, h) })
	t.Run("one task", func(t *testing.T) { checkOneTask(t, h) })
	t.Run("a timeline", func(t *testing.T) { checkTimeline(t, h) })
	t.Run("events", func(t *testing.T) { checkEvents(t, h) })
	t.Run("statistics", func(t *testing.T) { checkStatistics(t, h) })
}

func checkTaskPages(t *testing.T, h *historyServer) {
	t.Helper()
	var seen []string
	path := "/v1/tasks?user_id=alice&sort=created&limit=2"
	for range 3 {
		var page tasksPage
		resp := h.admin.get(path, &page)
		for _, task := range page.Items {
			seen = append(seen, task.ID)
		}
		link := strings.TrimSuffix(strings.TrimPrefix(resp.Header.Get("Link"), "<"), `>; rel="next"`)
		if page.Next == "" != (link == "") {
			t.Fatalf("next %q and Link %q, want both or none", page.Next, link)
		}
		if link != "" {
			path = "/v1/tasks" + link
		}
	}
	if got := slices.Sorted(slices.Values(seen)); !slices.Equal(got, []string{"a1", "a2", "a3", "a4", "a5", "a6"}) {
		t.Errorf("pages show %q, want each of alice's six tasks once", seen)
	}
}

func checkForeignPageTokens(t *testing.T, h *historyServer) {
	t.Helper()
	var page tasksPage
	h.admin.get("/v1/tasks?limit=1", &page)
	h.admin.refused("/v1/tasks?limit=1&user_id=alice&after="+page.Next, 400, taskfeed.CodeBadRequest, "after")
	h.admin.refused("/v1/events?limit=1&after="+page.Next, 400, taskfeed.CodeBadRequest, "after")
	h.alice.refused("/v1/me/tasks?limit=1&after="+page.Next, 400, taskfeed.CodeBadRequest, "after")
	h.alice.refused("/v1/me/tasks/a1/events?limit=1&after="+page.Next, 400, taskfeed.CodeBadRequest, "after")
	h.admin.refused("/v1/tasks?after=AAAA", 400, taskfeed.CodeBadRequest, "after")
}

func checkFilters(t *testing.T, h *historyServer) {
	t.Helper()
	for text, want := range map[string]int{
		`50% of "it"`: 1, `_done_`: 1, `\ ok`: 1, `50% OF`: 1, `a1`: 1, `%`: 1, `_`: 1, `' OR 1=1 --`: 0, `'; drop table taskfeed.tasks; --`: 0,
		`.*`: 0, `а1`: 0, `^a`: 0, `%a`: 0,
	} {
		var page tasksPage
		h.admin.get("/v1/tasks?"+url.Values{"q": {text}}.Encode(), &page)
		if len(page.Items) != want {
			t.Errorf("q=%s finds %d tasks, want %d", text, len(page.Items), want)
		}
		h.admin.get("/v1/tasks?"+url.Values{"user_id": {text}, "kind": {text}}.Encode(), &page)
		if len(page.Items) != 0 {
			t.Errorf("user %s has %d tasks, want none", text, len(page.Items))
		}
	}
}

func checkOneTask(t *testing.T, h *historyServer) {
	t.Helper()
	var task taskfeed.Task
	resp := h.alice.get("/v1/me/tasks/a1", &task)
	if task.Status != taskfeed.StatusCompleted || task.Version != 4 || string(task.Result) != `{"n": [1, 2.5, "x"]}` {
		t.Errorf("task %+v, want it completed with its result", task)
	}
	tag := resp.Header.Get("ETag")
	if resp, _ := h.alice.do(http.MethodGet, "/v1/me/tasks/a1", "If-None-Match", tag); resp.StatusCode != http.StatusNotModified {
		t.Errorf("the same task: %d, want 304", resp.StatusCode)
	}
	pgtest.Exec(t, h.dbURL, "UPDATE taskfeed.tasks SET message = 'changed' WHERE id = 'a1'")
	if resp, _ := h.alice.do(http.MethodGet, "/v1/me/tasks/a1", "If-None-Match", tag); resp.StatusCode != http.StatusOK || resp.Header.Get("ETag") == tag {
		t.Errorf("the changed task: %d with ETag %s, want 200 and another one", resp.StatusCode, resp.Header.Get("ETag"))
	}
	h.admin.refused("/v1/tasks/a7", 404, taskfeed.CodeNotFound)
}

func checkTimeline(t *testing.T, h *historyServer) {
	t.Helper()
	settle(t, h.dbURL)
	var timeline struct {
		Items []struct {
			Type          taskfeed.Type
			Version       int64
			SincePrevious *float64 `json:"since_previous_ms"`
		}
		Next    string
		Summary *struct {
			Events, Attempts int
			ProgressSteps    int `json:"progress_steps"`
		}
	}
	h.admin.get("/v1/tasks/a1/events?limit=2", &timeline)
	if s := timeline.Summary; s == nil || s.Events != 5 || s.Attempts != 1 || s.ProgressSteps != 2 {
		t.Errorf("summary %+v, want 5 events, 1 attempt and 2 steps", s)
	}
	if len(timeline.Items) != 2 || timeline.Items[0].SincePrevious != nil || timeline.Items[1].SincePrevious == nil || timeline.Next == "" {
		t.Fatalf("first page %+v, want 2 events with the time between them", timeline)
	}
	path := "/v1/tasks/a1/events?limit=500&after=" + timeline.Next
	timeline.Items, timeline.Next, timeline.Summary = nil, "", nil
	h.admin.get(path, &timeline)
	if len(timeline.Items) != 3 || timeline.Items[0].SincePrevious == nil || timeline.Items[0].Version != 3 || timeline.Summary != nil || timeline.Next != "" {
		t.Errorf("second page %+v, want the other 3, the first with its time too", timeline)
	}
	timeline.Items = nil
	h.alice.get("/v1/me/tasks/a7/events", &timeline)
	if got := timeline.Items; len(got) != 2 || got[1].Type != taskfeed.TypeTaskDeleted {
		t.Errorf("timeline of a deleted task %+v, want its beginning and its end", got)
	}
	h.admin.refused("/v1/tasks/nothing/events", 404, taskfeed.CodeNotFound)
}

func checkEvents(t *testing.T, h *historyServer) {
	t.Helper()
	var page eventsPage
	h.alice.get("/v1/me/events?limit=500&sort=id", &page)
	casts := 0
	for i, e := range page.Items {
		if e.UserID != "alice" && e.UserID != "" || i > 0 && e.ID <= page.Items[i-1].ID {
			t.Errorf("event %d of %q after another, want alice's and broadcasts in order", e.ID, e.UserID)
		}
		if e.Type == "news" {
			casts++
		}
	}
	if len(page.Items) != 13 || casts != 1 {
		t.Errorf("%d events and %d broadcasts, want 13 and 1", len(page.Items), casts)
	}
	page = eventsPage{}
	h.admin.get("/v1/events?user_id=alice&type=task_completed,news&type=task_deleted", &page)
	if got := page.Items; len(got) != 3 || got[0].Type != "news" || got[2].Type != taskfeed.TypeTaskCompleted {
		t.Errorf("events %+v, want three of these types, newest first", got)
	}
	page = eventsPage{}
	h.admin.get("/v1/events?since=2026-01-01T00:00:00Z&until=2199-01-01T00:00:00Z&sort=id&limit=3", &page)
	if len(page.Items) != 3 || page.Next == "" {
		t.Errorf("list of a span of time: got %+v, want a page of 3", page)
	}
	page = eventsPage{}
	h.admin.get("/v1/events?until=2020-01-01T00:00:00Z", &page)
	if len(page.Items) != 0 {
		t.Errorf("long ago: %d events, want none", len(page.Items))
	}
}

func checkStatistics(t *testing.T, h *historyServer) {
	t.Helper()
	var stats struct {
		Counts []struct {
			Status taskfeed.Status
			Kind   string
			Count  int
		}
		PerMinute     []struct{ Count int } `json:"events_per_minute"`
		OldestRunning *taskfeed.Task        `json:"oldest_running"`
		Stalled       []taskfeed.Task
	}
	h.admin.get("/v1/stats?stalled_after=1h", &stats)
	minutes := 0
	for _, m := range stats.PerMinute {
		minutes += m.Count
	}
	if len(stats.Counts) != 3 || len(stats.PerMinute) != 60 || minutes != 14 || stats.OldestRunning == nil || stats.OldestRunning.ID != "b1" || len(stats.Stalled) != 0 {
		t.Errorf("statistics %+v, want 3 counts, 14 events in 60 minutes and b1 running", stats)
	}
}

// TestIsolation proves that over HTTP alice gets not a byte of what only bob may see.
func TestIsolation(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.New(t)
	s := startServing(t, dbURL)
	const canary = "canary-of-bob"
	pgtest.Exec(t, dbURL, `
		INSERT INTO taskfeed.tasks (id, user_id, kind, status, message, result, error) VALUES
			('`+canary+`', 'bob', '`+canary+`', 'running', '`+canary+`', '"`+canary+`"', '`+canary+`'),
			('shared', 'bob', 'k', 'running', '`+canary+`', null, null);
		UPDATE taskfeed.tasks SET message = null WHERE id = 'shared';
		UPDATE taskfeed.tasks SET user_id = 'alice' WHERE id = 'shared';
		SELECT taskfeed.notify('bob', 'mail', '{"text": "`+canary+`"}')`)
	settle(t, dbURL)
	alice, bob := apiOf(t, s, "alice", ""), apiOf(t, s, "bob", "")

	paths := []string{"/v1/me", "/v1/me/tasks", "/v1/me/tasks?q=canary", "/v1/me/tasks?status=running&sort=updated", "/v1/me/events", "/v1/me/events?sort=id&type=mail,task_started",
		"/v1/me/events?task_id=" + canary, "/v1/me/events?task_id=shared", "/v1/me/tasks/" + canary, "/v1/me/tasks/" + canary + "/events", "/v1/me/tasks/shared", "/v1/me/tasks/shared/events",
		"/v1/tasks", "/v1/tasks/" + canary, "/v1/tasks/shared/events", "/v1/events", "/v1/stats", "/v1/connections"}
	for _, path := range paths {
		for _, accept := range []string{"application/json", "text/csv", "application/x-ndjson"} {
			if _, body := alice.do(http.MethodGet, path, "Accept", accept); strings.Contains(body, canary) {
				t.Errorf("GET %s as %s shows alice what is bob's: %s", path, accept, body)
			}
		}
	}
	var theirs, ours tasksPage
	bob.get("/v1/me/tasks?limit=1", &theirs)
	alice.get("/v1/me/tasks", &ours)
	if len(theirs.Items) != 1 || theirs.Items[0].ID != canary || len(ours.Items) != 1 || ours.Items[0].ID != "shared" {
		t.Errorf("bob has %+v and alice %+v, want one task each", theirs.Items, ours.Items)
	}
	var seen eventsPage
	bob.get("/v1/me/tasks/shared/events", &seen)
	if got := seen.Items; len(got) != 3 || got[2].Type != taskfeed.TypeTaskDeleted {
		t.Errorf("bob's part of the shared task %+v, want three events up to its end", got)
	}
	seen = eventsPage{}
	alice.get("/v1/me/tasks/shared/events", &seen)
	if got := seen.Items; len(got) != 1 || got[0].Type != taskfeed.TypeTaskStarted {
		t.Errorf("alice's part of the shared task %+v, want its beginning alone", got)
	}
	for _, params := range []string{"after=0", "after=0&task_id=" + canary, "after=0&types=mail"} {
		c := alice.stream(params)
		for f := c.Frame(); f.Type != taskfeed.TypeFeedLive; f = c.Frame() {
			if f.Event.TaskID != "shared" || strings.Contains(string(f.Event.Data), canary) {
				t.Errorf("the stream with %s shows alice %s of %s", params, f.Type, f.Event.TaskID)
			}
		}
		c.Close()
	}
}

// TestDisconnectReachesEveryServer is bad input 62: an admin asks any server to close a
// user's connections, and their close code tells clients not to reconnect.
func TestDisconnectReachesEveryServer(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.New(t)
	first, second := startServing(t, dbURL), startServing(t, dbURL)
	admin := apiOf(t, first, "root", auth.RoleAdmin)

	sockets := []*websocket.Conn{dialPlain(t, first, "alice"), dialPlain(t, second, "alice")}
	bystander := dialPlain(t, second, "bob")
	stream := apiOf(t, second, "alice", "").stream("")
	if f := stream.Frame(); f.Type != taskfeed.TypeFeedLive {
		t.Fatalf("the stream begins with %s, want feed_live", f.Type)
	}
	if resp, body := admin.do(http.MethodDelete, "/v1/users/alice/connections"); resp.StatusCode != http.StatusAccepted {
		t.Fatalf("DELETE: %d %s, want 202", resp.StatusCode, body)
	}
	for i, conn := range sockets {
		expectDisconnected(t, fmt.Sprint("socket ", i), conn)
	}
	stream.ExpectClosed(4011)
	if stream.Parser.Retry < time.Hour {
		t.Errorf("the stream's client comes back after %v, want it to stay away", stream.Parser.Retry)
	}

	var list struct {
		Server string
		Items  []struct {
			ID     string
			UserID string `json:"user_id"`
		}
	}
	apiOf(t, second, "root", auth.RoleAdmin).get("/v1/connections", &list)
	if len(list.Items) != 1 || list.Items[0].UserID != "bob" {
		t.Fatalf("connections of the second server %+v, want bob's alone", list.Items)
	}
	if resp, body := admin.do(http.MethodDelete, "/v1/connections/"+list.Items[0].ID); resp.StatusCode != http.StatusAccepted {
		t.Fatalf("DELETE of another server's connection: %d %s, want 202", resp.StatusCode, body)
	}
	expectDisconnected(t, "the bystander's socket", bystander)
}

func expectDisconnected(t *testing.T, what string, conn *websocket.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second)) // as promised
	if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, 4011) {
		t.Errorf("%s ended with %v, want close code 4011 within 5s", what, err)
	}
}

// TestExportWhileWriting proves that an export is complete and in order whatever is
// written meanwhile.
func TestExportWhileWriting(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.New(t)
	s := startServing(t, dbURL)
	const tasks = 3000
	pgtest.Exec(t, dbURL, "INSERT INTO taskfeed.tasks (id, user_id) SELECT 't' || i, 'alice' FROM generate_series(1, "+strconv.Itoa(tasks)+") AS i")
	settle(t, dbURL)
	admin := apiOf(t, s, "root", auth.RoleAdmin)
	var newest eventsPage
	admin.get("/v1/events?limit=1", &newest)

	w := startPacedWriter(t, dbURL, time.Millisecond)
	exported := func(path string) []string {
		resp, body := admin.do(http.MethodGet, path, "Accept", "application/x-ndjson")
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("export: %d %s", resp.StatusCode, body)
		}
		var ids []string
		lines := bufio.NewScanner(strings.NewReader(body))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var item struct{ ID json.RawMessage }
			if err := json.Unmarshal(lines.Bytes(), &item); err != nil {
				t.Fatalf("line %q: %v", lines.Text(), err)
			}
			ids = append(ids, string(item.ID))
		}
		return ids
	}
	got := exported("/v1/events?sort=id")
	var last, old int64
	for _, text := range got {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil || id <= last {
			t.Fatalf("event %s after %d (%v), want ascending ids", text, last, err)
		}
		if last = id; id <= int64(newest.Items[0].ID) {
			old++
		}
	}
	if old != tasks {
		t.Errorf("%d of %d events from before are in the export", old, tasks)
	}
	ids := exported("/v1/tasks?sort=created")
	slices.Sort(ids)
	if once := slices.Compact(slices.Clone(ids)); len(once) != len(ids) || len(ids) != tasks+1 { // and the writer's own
		t.Errorf("%d tasks, %d of them different; want %d, each once", len(ids), len(once), tasks+1)
	}
	w.stop(t)
}
