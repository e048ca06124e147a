package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/lab/wstest"
)

func TestProblemDocument(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	r := must(http.NewRequest(http.MethodGet, f.url+"/no/such/<script>", nil))
	r.Header.Set("X-Request-Id", "from-the-proxy.7")
	resp, body := f.do(r)
	want := problemDocument{
		Type:      "https://github.com/taskfeed/taskfeed/blob/main/docs/PROTOCOL.md#not_found",
		Title:     "Not found",
		Status:    404,
		Detail:    request.ErrNotFound.Message,
		Instance:  "urn:taskfeed:request:from-the-proxy.7",
		Code:      taskfeed.CodeNotFound,
		RequestID: "from-the-proxy.7",
	}
	var got problemDocument
	if err := json.Unmarshal([]byte(body), &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("body %s (%v), want %+v", body, err, want)
	}
	if resp.StatusCode != 404 || resp.Header.Get("Content-Type") != "application/problem+json" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s %s, want 404 application/problem+json no-store", resp.StatusCode, resp.Header.Get("Content-Type"), resp.Header.Get("Cache-Control"))
	}
}

func TestMethodsAndRequestIDs(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	for _, path := range []string{"/healthz", "/readyz", "/health/websockets", "/metrics"} {
		resp, body := f.do(must(http.NewRequest(http.MethodPut, f.url+path, nil)))
		if allow := resp.Header.Get("Allow"); resp.StatusCode != 405 || !strings.Contains(allow, "GET") || wstest.ProblemCode([]byte(body)) != taskfeed.CodeMethodNotAllowed {
			t.Errorf("PUT %s: %d, Allow %q, %s; want 405 with GET", path, resp.StatusCode, allow, body)
		}
	}
	if resp, body := f.do(must(http.NewRequest(http.MethodHead, f.url+"/readyz", nil))); resp.StatusCode != 200 || body != "" {
		t.Errorf("HEAD /readyz: %d %q, want 200 and no body", resp.StatusCode, body)
	}
	if resp, body := f.do(must(http.NewRequest(http.MethodHead, f.url+"/nothing", nil))); resp.StatusCode != 404 || body != "" {
		t.Errorf("HEAD /nothing: %d %q, want 404 and no body", resp.StatusCode, body)
	}
	for _, id := range []string{"", "a b", "a\tb", "ü", strings.Repeat("a", 65), "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln", `"`} {
		r := must(http.NewRequest(http.MethodGet, f.url+"/healthz", nil))
		r.Header.Set("X-Request-Id", id)
		if resp, _ := f.do(r); resp.Header.Get("X-Request-Id") == id || len(resp.Header.Get("X-Request-Id")) < 16 {
			t.Errorf("request id %q is answered by %q, want one of our own", id, resp.Header.Get("X-Request-Id"))
		}
	}
}

func TestAccessLog(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	f.get("/healthz")
	f.get("/nothing?after=7&token=secret-but-no-jwt&%65yJhIjoiYiJ9.x=1")
	c := f.dial("alice", "after=0")
	c.ExpectLive(0)
	f.eventually("the requests are logged", func() bool { return len(f.logs.lines(`"msg":"request"`)) == 3 })
	for _, want := range [][]string{
		{`"level":"DEBUG"`, `"url":"/healthz"`, `"status":200`, `"request_id":"`, `"method":"GET"`},
		{`"level":"INFO"`, `"url":"/nothing?after=7&REDACTED&token=REDACTED"`, `"status":404`, `"remote_addr":"127.0.0.1"`},
		{`"level":"INFO"`, `"url":"/ws/alice?after=0&token=REDACTED"`, `"status":101`, `"connection_id":"` + f.connections()[0].ID + `"`},
	} {
		if got := f.logs.lines(want...); len(got) != 1 {
			t.Errorf("%d lines hold %v, want 1 in:\n%s", len(got), want, f.logs)
		}
	}
	c.Close(1000)
	f.eventually("the end is logged", func() bool {
		return len(f.logs.lines(`"msg":"connection closed"`, `"user_id":"alice"`, `"code":1000`, `"bytes_sent":`)) == 1
	})
}

func TestHealth(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	deps := Deps{Checks: []Check{
		{Name: "database", Run: func(context.Context) error {
			if broken.Load() {
				return errors.New("dial tcp: password=hunter2")
			}
			return nil
		}},
		{Name: "schema", Run: func(context.Context) error {
			if broken.Load() {
				return &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "run taskfeed migrate up"}
			}
			return nil
		}},
		{Name: "feed", Run: func(context.Context) error {
			if broken.Load() {
				panic("a fault planted by a test")
			}
			return nil
		}},
	}}
	f := serve(t, setup{cfg: Config{CheckInterval: -1}, deps: deps})
	expect := func(path string, status int, want string) {
		t.Helper()
		if resp, body := f.get(path); resp.StatusCode != status || strings.TrimSpace(body) != want {
			t.Errorf("%s: %d %s, want %d %s", path, resp.StatusCode, body, status, want)
		}
	}
	expect("/healthz", 200, `{"status":"ok"}`)
	expect("/readyz", 200, `{"status":"ready"}`)
	expect("/readyz?verbose", 200, `{"status":"ready","checks":[{"name":"not_draining","ok":true},`+
		`{"name":"database","ok":true},{"name":"schema","ok":true},{"name":"feed","ok":true}]}`)

	broken.Store(true)
	expect("/healthz", 200, `{"status":"ok"}`)
	expect("/readyz", 503, `{"status":"not ready"}`)
	expect("/readyz?verbose", 503, `{"status":"not ready","checks":[{"name":"not_draining","ok":true},`+
		`{"name":"database","ok":false,"detail":"the check failed; the server's log has the cause"},`+
		`{"name":"schema","ok":false,"detail":"run taskfeed migrate up"},`+
		`{"name":"feed","ok":false,"detail":"the check failed; the server's log has the cause"}]}`)
	if got := len(f.logs.lines(`"msg":"readiness check fails"`)); got != 3 {
		t.Errorf("%d lines about failing checks, want one for each of the 3", got)
	}
	broken.Store(false)
	expect("/readyz", 200, `{"status":"ready"}`)

	expect("/health/websockets", 200, `{"total_users":0,"total_connections":0}`)
	for _, userID := range []string{"alice", "alice", "bob"} {
		f.dial(userID).ExpectQuiet()
	}
	expect("/health/websockets", 200, `{"total_users":2,"total_connections":3}`)
}

func TestReadinessIsNotAskedTooOften(t *testing.T) {
	t.Parallel()
	var runs atomic.Int32
	check := Check{Name: "database", Run: func(context.Context) error { runs.Add(1); return nil }}
	f := serve(t, setup{cfg: Config{CheckInterval: time.Hour}, deps: Deps{Checks: []Check{check}}})
	for range 5 {
		f.get("/readyz")
	}
	if got := runs.Load(); got != 1 {
		t.Errorf("the check ran %d times, want once", got)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	up := prometheus.NewGauge(prometheus.GaugeOpts{Name: "taskfeed_listener_up", Help: "From elsewhere."})
	up.Set(1)
	f := serve(t, setup{cfg: Config{MetricsUsers: 2}, deps: Deps{Collectors: []prometheus.Collector{up}}})
	clients := make(map[string]*wstest.Client)
	for _, userID := range []string{"carol", "bob", "alice"} {
		clients[userID] = f.dial(userID)
		clients[userID].ExpectQuiet()
	}
	id := f.log.add("alice", taskfeed.TypeTaskQueued, `{}`)[0]
	clients["alice"].ExpectEvent(id)
	f.dial("alice", "after=0").ExpectEvent(id)
	f.dial("alice", "after=99").Frame()

	for line, want := range map[string]float64{
		`websocket_connections{user_id="alice"}`:      3,
		`websocket_connections{user_id="bob"}`:        1,
		`websocket_connections{user_id="carol"}`:      -1, // beyond MetricsUsers
		`taskfeed_metrics_users_left_off`:             1,
		`taskfeed_connections`:                        5,
		`taskfeed_users`:                              3,
		`taskfeed_events_delivered_total`:             2,
		`taskfeed_frames_replayed_total`:              1,
		`taskfeed_commit_to_socket_seconds_count`:     1,
		`taskfeed_resets_total`:                       1,
		`taskfeed_head`:                               1,
		`taskfeed_slow_closes_total`:                  0,
		`taskfeed_inbound_ignored_total`:              0,
		`taskfeed_listener_up`:                        1,
		`taskfeed_closes_total{code="1000"}`:          -1,
		`taskfeed_recent_bytes`:                       0,
		`websocket_connections{user_id="unheard-of"}`: -1,
	} {
		f.eventually(fmt.Sprintf("%s is %v", line, want), func() bool { return f.metric(line) == want })
	}
	clients["bob"].Close(1000)
	f.eventually("bob is gone", func() bool {
		return f.metric(`websocket_connections{user_id="bob"}`) == -1 && f.metric(`websocket_connections{user_id="carol"}`) == 1
	})
	f.eventually("the close is counted", func() bool { return f.metric(`taskfeed_closes_total{code="1000"}`) == 1 })
	if got := f.metric("go_goroutines"); got < 1 {
		t.Errorf("go_goroutines %v, want the runtime's metrics", got)
	}
	if got := f.metric("process_open_fds"); got < 1 {
		t.Errorf("process_open_fds %v, want the process's metrics", got)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	pages := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/static/panic" {
			panic("a fault planted by a test")
		}
		_, _ = fmt.Fprint(w, "page ", r.URL.Path) // a test's client is there
	})
	f := serve(t, setup{deps: Deps{Pages: pages}})
	for _, path := range []string{"/", "/static/app.js"} {
		if resp, body := f.get(path); resp.StatusCode != 200 || body != "page "+path {
			t.Errorf("%s: %d %s, want the page", path, resp.StatusCode, body)
		}
	}
	if resp, body := f.get("/static/panic"); resp.StatusCode != 500 || wstest.ProblemCode([]byte(body)) != taskfeed.CodeInternal {
		t.Errorf("panic: %d %s, want 500 internal", resp.StatusCode, body)
	}
	if resp, _ := f.get("/elsewhere"); resp.StatusCode != 404 {
		t.Errorf("/elsewhere: %d, want 404", resp.StatusCode)
	}
}
