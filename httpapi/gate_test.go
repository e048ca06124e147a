package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/store/history"
)

// slowHistory is a history whose lists wait for release.
type slowHistory struct {
	fakeHistory
	asked   chan string // the user of each list when it is asked for
	release chan struct{}
}

func newSlowHistory() *slowHistory {
	return &slowHistory{asked: make(chan string, 100), release: make(chan struct{})}
}

func (h *slowHistory) ListTasks(ctx context.Context, q history.TaskQuery) (history.TaskPage, error) {
	h.asked <- q.UserID
	select {
	case <-h.release:
		return history.TaskPage{Items: []taskfeed.Task{someTask("t", q.UserID)}}, nil
	case <-ctx.Done():
		return history.TaskPage{}, &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "narrow the filter", Err: ctx.Err()}
	}
}

// inBackground asks for a path n times and returns a function that waits for the
// statuses.
func (f *fixture) inBackground(n int, token, path string) (statuses func() map[int]int) {
	f.t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[int]int{}
	for range n {
		r := f.request(http.MethodGet, path, token, "Connection", "close")
		wg.Go(func() {
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				f.t.Errorf("GET %s: %v", path, err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			got[resp.StatusCode]++
		})
	}
	return func() map[int]int { wg.Wait(); return got }
}

// TestOneUserLeavesRoom: the requests of one user took the whole budget of memory
// and all turns, and all other users waited.
func TestOneUserLeavesRoom(t *testing.T) {
	t.Parallel()
	h := newSlowHistory()
	f := serve(t, setup{deps: Deps{History: h}, cfg: Config{AnswerBytes: 6 * request.AnswerBytes, ParallelRequests: 10, QueueTimeout: 200 * time.Millisecond}})
	greedy := f.inBackground(10, f.token("greedy"), "/v1/me/tasks")
	for range 3 {
		if user := <-h.asked; user != "greedy" {
			t.Fatalf("the list of %q is read, want that of greedy", user)
		}
	}
	resp, body := f.getAs(f.token("greedy"), "/v1/me")
	f.expectRefusal(resp, body, 429, taskfeed.CodeRateLimited)
	if resp.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	alice := f.inBackground(1, f.token("alice"), "/v1/me/tasks")
	if user := <-h.asked; user != "alice" {
		t.Errorf("the list of %q is read, want that of alice", user)
	}
	if resp, body := f.getAs(f.token("bob"), "/v1/me"); resp.StatusCode != 200 {
		t.Errorf("a small request of somebody else: %d %s, want 200", resp.StatusCode, body)
	}
	f.eventually("those of greedy that waited are refused", func() bool { return len(f.logs.lines(`"status":429`)) == 8 })
	close(h.release)
	if got := greedy(); got[200] != 3 || got[429] != 7 {
		t.Errorf("answers to greedy: got %v, want 3 and 7 refusals", got)
	}
	if got := alice(); got[200] != 1 {
		t.Errorf("alice's answers %v, want one", got)
	}
	if resp, body := f.getAs(f.token("greedy"), "/v1/me"); resp.StatusCode != 200 {
		t.Errorf("greedy after all answers have been read: got %d %s, want 200", resp.StatusCode, body)
	}
}

// TestBusyServer: a user without running requests who gets no place in time is
// answered 503 with Retry-After, not 429.
func TestBusyServer(t *testing.T) {
	t.Parallel()
	h := newSlowHistory()
	f := serve(t, setup{deps: Deps{History: h}, cfg: Config{AnswerBytes: request.LeastAnswers * request.AnswerBytes, QueueTimeout: 50 * time.Millisecond}})
	var done []func() map[int]int
	for i := range request.LeastAnswers {
		done = append(done, f.inBackground(1, f.token(fmt.Sprint("user ", i)), "/v1/me/tasks"))
	}
	for range request.LeastAnswers {
		<-h.asked
	}
	resp, body := f.getAs(f.token("bob"), "/v1/me")
	f.expectRefusal(resp, body, 503, taskfeed.CodeUnavailable)
	if resp.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	close(h.release)
	for _, statuses := range done {
		if got := statuses(); got[200] != 1 {
			t.Errorf("answers %v, want one", got)
		}
	}
}

// TestLateAdviceArrives: the store and net/http timed out at the same time, so the
// answer that advises to narrow the filter was written to a closed connection.
func TestLateAdviceArrives(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{deps: Deps{History: newSlowHistory()}, cfg: Config{ReadTimeout: time.Millisecond, RequestTimeout: time.Second}})
	resp, body := f.getAs(f.token("alice"), "/v1/me/tasks") // the handler sets its own deadline, longer than every timeout of this test
	f.expectRefusal(resp, body, 503, taskfeed.CodeUnavailable)
	if !strings.Contains(body, "narrow the filter") {
		t.Errorf("%s, want the advice", body)
	}
}

// TestCutAnswersInTheLog: an answer that was cut off had no line in the access log.
func TestCutAnswersInTheLog(t *testing.T) {
	t.Parallel()
	task := someTask("t", "alice")
	task.Message = strings.Repeat("x", 10_000)
	endless := func(yield func(taskfeed.Task, error) bool) {
		for yield(task, nil) {
		}
	}
	failing := func(yield func(taskfeed.Task, error) bool) {
		for range 8 {
			yield(task, nil)
		}
		yield(taskfeed.Task{}, errors.New("planted"))
	}
	panicking := func(yield func(taskfeed.Task, error) bool) {
		for range 8 {
			yield(task, nil)
		}
		panic("planted")
	}
	broken := history.TaskPage{Items: []taskfeed.Task{task, task, {Result: json.RawMessage("{")}}}
	large := &fakeHistory{page: history.TaskPage{Items: []taskfeed.Task{someTask("t1", "alice")}},
		large: []history.LargeField{{Name: "error"}}, texts: map[string][]string{"error": {strings.Repeat("e", 100_000)}}, textErr: errors.New("planted")}
	for name, c := range map[string]struct {
		history *fakeHistory
		cfg     Config
		path    string
		hangUp  bool
		cut     string
	}{
		"a reader who hangs up":   {&fakeHistory{exported: endless}, Config{}, "/v1/me/tasks", true, "client_gone"},
		"a reader who stops":      {&fakeHistory{exported: endless}, Config{WriteTimeout: 50 * time.Millisecond}, "/v1/me/tasks", false, "client_slow"},
		"an export without end":   {&fakeHistory{exported: endless}, Config{AnswerTime: 50 * time.Millisecond}, "/v1/me/tasks", false, "time_is_up"},
		"a log that fails":        {&fakeHistory{exported: failing}, Config{}, "/v1/me/tasks", false, "server_error"},
		"a panic":                 {&fakeHistory{exported: panicking}, Config{}, "/v1/me/tasks", false, "server_error"},
		"a page that is no JSON":  {&fakeHistory{page: broken}, Config{}, "/v1/me/tasks?limit=3", false, "server_error"},
		"a large task that fails": {large, Config{}, "/v1/me/tasks/t1", false, "server_error"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, _ := serveREST(t, c.history, c.cfg)
			conn := f.ask(c.path, f.token("alice"))
			defer conn.Close()
			if c.hangUp {
				f.readSome(conn, 1<<20)
				_ = conn.Close()
			}
			f.eventually("the request has its line", func() bool { return len(f.logs.lines(`"msg":"request"`)) > 0 })
			if got := f.logs.lines(`"msg":"request"`); len(got) != 1 || !strings.Contains(got[0], `"cut":"`+c.cut+`"`) || strings.Contains(got[0], `"bytes":0,`) {
				t.Errorf("lines %s, want one with the bytes and why it was cut: %s", got, c.cut)
			}
			if rest, _ := io.ReadAll(conn); strings.HasSuffix(string(rest), "\r\n0\r\n\r\n") {
				t.Errorf("…%q, want no end: it is not whole", rest[max(0, len(rest)-100):])
			}
		})
	}
}

// ask sends a request for an export or a list and reads nothing.
func (f *fixture) ask(path, token string) net.Conn {
	f.t.Helper()
	conn := must(net.Dial("tcp", strings.TrimPrefix(f.url, "http://")))
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	accept := "application/x-ndjson"
	if strings.Contains(path, "t1") || strings.Contains(path, "limit") {
		accept = request.TypeJSON
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nAccept: %s\r\nAuthorization: Bearer %s\r\n\r\n", path, accept, token); err != nil {
		f.t.Fatalf("ask: %v", err)
	}
	return conn
}

func (f *fixture) readSome(conn net.Conn, n int64) {
	f.t.Helper()
	if _, err := io.CopyN(io.Discard, conn, n); err != nil {
		f.t.Fatalf("read the beginning: %v", err)
	}
}

// TestWholeAnswersInTheLog: the access log has the size of a complete answer.
func TestWholeAnswersInTheLog(t *testing.T) {
	t.Parallel()
	f, _ := serveREST(t, &fakeHistory{page: history.TaskPage{Items: []taskfeed.Task{someTask("t1", "alice")}}}, Config{})
	for _, path := range []string{"/v1/me/tasks", "/v1/me/tasks/t1", "/v1/me/tasks/none", "/v1/nowhere", "/docs/api"} {
		resp, body := f.getAs(f.token("alice"), path)
		want := fmt.Sprintf(`"url":"%s","status":%d,"bytes":%d,`, path, resp.StatusCode, len(body))
		f.eventually(want, func() bool { return len(f.logs.lines(`"msg":"request"`, want)) == 1 })
	}
	if got := f.logs.lines(`"cut":`); len(got) > 0 {
		t.Errorf("%s, want nothing to be cut", got)
	}
}

// TestLargeTask: a task whose fields are read in pieces is one JSON document.
func TestLargeTask(t *testing.T) {
	t.Parallel()
	task := someTask("t1", "alice")
	task.Message, task.Result = "", nil
	f, _ := serveREST(t, &fakeHistory{page: history.TaskPage{Items: []taskfeed.Task{task}},
		large: []history.LargeField{{Name: "message"}, {Name: "result"}},
		texts: map[string][]string{"message": {"a\"\n<", "é\x01\\"}, "result": {`{"a": [1`, `, 2]}`}}}, Config{})
	resp, body := f.getAs(f.token("alice"), "/v1/me/tasks/t1")
	var got taskfeed.Task
	if err := json.Unmarshal([]byte(body), &got); err != nil || got.Message != "a\"\n<é\x01\\" || string(got.Result) != `{"a": [1, 2]}` || resp.Header.Get("ETag") == "" {
		t.Errorf("%s (%v), want one document with all its pieces", body, err)
	}
	if resp, _ := f.do(f.request(http.MethodHead, "/v1/me/tasks/t1", f.token("alice"))); resp.StatusCode != 200 {
		t.Errorf("HEAD: %d, want 200", resp.StatusCode)
	}
	for _, user := range []string{"mallory"} {
		resp, body := f.getAs(f.token(user), "/v1/me/tasks/t1")
		f.expectRefusal(resp, body, 404, taskfeed.CodeNotFound)
	}
}
