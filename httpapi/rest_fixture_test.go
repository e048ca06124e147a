package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/store/history"
)

// fakeHistory answers with its fields and keeps the queries.
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

func (h *fakeHistory) FindUserTask(_ context.Context, users []string, id string) (history.WholeTask, error) {
	return h.find(func(t *taskfeed.Task) bool { return t.ID == id && slices.Contains(users, t.UserID) })
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
	return h.UserTaskEvents(ctx, nil, taskID, after, limit)
}

func (h *fakeHistory) UserTaskEvents(_ context.Context, users []string, taskID, after string, limit int) (history.Timeline, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.timeline = append(h.timeline, fmt.Sprintf("%q %q %q %d", taskID, strings.Join(users, "+"), after, limit))
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

// counts returns how often the tasks were counted. A count may be under way.
func (h *fakeHistory) counts() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counted
}

func (h *fakeHistory) Stats(context.Context) (history.Stats, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counted++
	return h.stats, cmp.Or(h.statsErr, h.err)
}

// fakeCommands records the commands.
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
	return serve(t, setup{cfg: cfg, deps: Deps{History: h, Commands: commands, Sources: fakeSources{}}}), commands
}
