package server_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/lab/locked"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/lab/ssetest"
	"github.com/taskfeed/taskfeed/lab/wstest"
	"github.com/taskfeed/taskfeed/server"
	"github.com/taskfeed/taskfeed/store"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// principalOf reads the user from a cookie, as an app's sessions would.
func principalOf(r *http.Request) (server.Principal, error) {
	cookie, err := r.Cookie("user")
	switch {
	case err != nil:
		return server.Principal{}, &taskfeed.Error{Code: taskfeed.CodeBadToken, Message: "sign in first"}
	case cookie.Value == "broken":
		return server.Principal{}, errors.New("the sessions are away")
	case cookie.Value == "late":
		return server.Principal{UserID: "late", ExpiresAt: time.Now().Add(-time.Second)}, nil
	case cookie.Value == "brief":
		return server.Principal{UserID: "brief", ExpiresAt: time.Now().Add(2 * time.Second)}, nil
	case cookie.Value == "nobody":
		return server.Principal{}, nil
	case cookie.Value == "root":
		return server.Principal{UserID: "root", Role: server.RoleAdmin}, nil
	}
	return server.Principal{UserID: cookie.Value, Feeds: []string{"team"}}, nil
}

func as(user string) http.Header { return http.Header{"Cookie": {"user=" + user}} }

// mounted is an app that serves a taskfeed below /feeds.
type mounted struct {
	*testing.T
	srv *server.Server
	app *httptest.Server
	log *locked.Buffer
	url string
}

func mount(t *testing.T, databaseURL string, change ...func(*server.Config)) *mounted {
	t.Helper()
	m := &mounted{T: t, log: &locked.Buffer{}}
	var err error
	cfg := server.Config{
		Database:     store.Config{URL: databaseURL},
		Authenticate: principalOf,
		HTTP:         httpapi.Config{Drain: -1, CheckInterval: -1},
		Log:          slog.New(slog.NewTextHandler(m.log, nil)),
	}
	for _, f := range change {
		f(&cfg)
	}
	if m.srv, err = server.New(cfg); err != nil {
		t.Fatalf("make a server: %v", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/feeds/", http.StripPrefix("/feeds", m.srv.Handler()))
	m.app = httptest.NewUnstartedServer(mux)
	m.app.Config.ConnContext = m.srv.ConnContext
	m.app.Start()
	t.Cleanup(m.app.Close)
	m.url = m.app.URL + "/feeds"
	return m
}

// run runs the server until the test ends or stop is called.
func (m *mounted) run() (stop func()) {
	m.Helper()
	ctx, cancel := context.WithCancel(m.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.srv.Run(ctx) }()
	stop = func() {
		cancel()
		if err := <-ended; err != nil {
			m.Errorf("run: %v, want an ordered end", err)
		}
		ended <- nil
	}
	m.Cleanup(stop)
	m.eventually("the server is ready", func() bool { return m.get("/readyz", nil).status == http.StatusOK })
	return stop
}

func (m *mounted) eventually(what string, holds func() bool) {
	m.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			m.Fatalf("%s: not in time; the log:\n%s", what, m.log)
		case <-tick.C:
		}
	}
}

type answer struct {
	status int
	body   string
}

func (m *mounted) get(path string, header http.Header) answer {
	m.Helper()
	r, err := http.NewRequestWithContext(m.Context(), http.MethodGet, m.url+path, nil)
	if err != nil {
		m.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	w, err := m.app.Client().Do(r)
	if err != nil {
		m.Fatalf("get %s: %v", path, err)
	}
	defer w.Body.Close()
	body, err := io.ReadAll(w.Body)
	if err != nil {
		m.Fatalf("read %s: %v", path, err)
	}
	return answer{w.StatusCode, string(body)}
}

func (m *mounted) want(path string, header http.Header, status int, text string) {
	m.Helper()
	if got := m.get(path, header); got.status != status || !strings.Contains(got.body, text) {
		m.Errorf("%s of %v: got %d %s, want %d with %q", path, header["Cookie"], got.status, got.body, status, text)
	}
}

// A program serves feeds below a path of its own, and knows its users by its own sessions.
func TestMountedWithSessions(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t) // Run migrates it
	m := mount(t, url)
	m.want("/v1/me/tasks", as("alice"), http.StatusServiceUnavailable, "the server is starting")
	m.want("/v1/events/stream", as("alice"), http.StatusServiceUnavailable, "the server is starting")
	m.want("/healthz", nil, http.StatusOK, "")
	m.want("/docs/promises", nil, http.StatusOK, "What taskfeed promises")
	m.want("/sdk/taskfeed.js", nil, http.StatusOK, "")
	stop := m.run()
	pgtest.Exec(t, url, `INSERT INTO taskfeed.tasks (id, user_id) VALUES ('a1', 'alice'), ('b1', 'bob'), ('t1', 'team')`)

	m.want("/v1/me", as("alice"), http.StatusOK, `"user_id":"alice","feeds":["team"]`)
	m.want("/v1/me/tasks", as("alice"), http.StatusOK, `"id":"a1"`)
	m.want("/v1/tasks", as("alice"), http.StatusForbidden, "")
	m.want("/v1/tasks", as("root"), http.StatusOK, `"id":"b1"`)
	m.want("/v1/me", nil, http.StatusUnauthorized, "sign in first")
	m.want("/v1/me", as("late"), http.StatusUnauthorized, "the session is over")
	m.want("/v1/me", as("broken"), http.StatusInternalServerError, "")
	m.want("/v1/me", as("nobody"), http.StatusInternalServerError, "")
	for _, cause := range []string{"the sessions are away", "ids cannot be used"} {
		if !strings.Contains(m.log.String(), cause) {
			t.Errorf("the log lacks %q:\n%s", cause, m.log)
		}
	}
	foreign := as("alice")
	foreign.Set("Origin", "https://evil.example")
	m.want("/v1/me/tasks", foreign, http.StatusForbidden, "pages of this origin")
	tokens := as("alice")
	tokens["Authorization"] = []string{"Bearer one", "Bearer two"} // the app's own
	m.want("/v1/me", tokens, http.StatusOK, "alice")

	stream := ssetest.Open(t, m.url+"/v1/events/stream?after=0", as("alice"))
	socket := wstest.Dial(t, m.url+"/ws/bob?after=0", wstest.Options{Header: as("bob")})
	seen := map[string]bool{}
	for !seen["a1"] || !seen["t1"] {
		seen[stream.Frame().Event.TaskID] = true
	}
	if seen["b1"] {
		t.Error("alice sees a task of bob")
	}
	if f := socket.Frame(); f.Event.TaskID != "b1" && f.Event.TaskID != "t1" {
		t.Errorf("bob got %+v, want a task of his or of the team", f)
	}
	wstest.Dial(t, m.url+"/ws/bob", wstest.Options{Header: as("alice")}).ExpectClose(taskfeed.CloseForbidden)
	wstest.Dial(t, m.url+"/ws/alice", wstest.Options{}).ExpectClose(taskfeed.CloseBadToken)
	wstest.Dial(t, m.url+"/ws/brief", wstest.Options{Header: as("brief")}).ExpectClose(taskfeed.CloseBadToken) // when its session ends

	if err := m.srv.DisconnectUser(t.Context(), "alice"); err != nil {
		t.Fatalf("disconnect alice: %v", err)
	}
	last := stream.Event()
	for e, ok := stream.TryEvent(); ok; e, ok = stream.TryEvent() {
		last = e
	}
	if !strings.Contains(last.Data, `"code":4011`) {
		t.Errorf("the stream ended with %+v, want code %d", last, taskfeed.CloseDisconnected)
	}
	stop()
	m.want("/readyz", nil, http.StatusServiceUnavailable, "")
}

// A text message that renews a token means nothing where nobody reads tokens.
func TestNothingToRenew(t *testing.T) {
	t.Parallel()
	m := mount(t, pgtest.New(t))
	m.run()
	socket := wstest.Dial(t, m.url+"/ws/alice", wstest.Options{Header: as("alice"), Subprotocols: []string{taskfeed.Subprotocol}})
	socket.ExpectLive(0)
	socket.Send(`{"type":"auth","token":"nonsense"}`)
	socket.Send("ping")
	if got := socket.Text(); got != "pong" {
		t.Errorf("got %q, want pong from an open connection", got)
	}
}

func TestWithoutPages(t *testing.T) {
	t.Parallel()
	m := mount(t, pgtest.New(t), func(cfg *server.Config) { cfg.NoPages = true })
	m.run()
	for path, want := range map[string]int{"/": 404, "/demo": 404, "/console/": 404, "/docs/": 404, "/docs/api": 200, "/sdk/taskfeed.js": 200, "/v1/me": 200} {
		m.want(path, as("alice"), want, "")
	}
}

// Whoever reaches an app does not read who its users are, unless the app says so.
func TestMetricsAreForAdmins(t *testing.T) {
	t.Parallel()
	for public, want := range map[bool]int{false: 404, true: 200} {
		m := mount(t, pgtest.New(t), func(cfg *server.Config) { cfg.PublicMetrics = public })
		m.run()
		m.want("/metrics", nil, want, "")
		m.want("/v1/metrics", as("alice"), 403, "")
		m.want("/v1/metrics", as("root"), 200, "taskfeed_connections")
	}
}

func TestRunIsCalledOnce(t *testing.T) {
	t.Parallel()
	m := mount(t, pgtest.New(t))
	m.run()
	if err := m.srv.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "called before") {
		t.Errorf("run it again: %v, want an error", err)
	}
}

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	secret := auth.Config{Secret: []byte("a secret of the tests alone, of 32 bytes")}
	database := store.Config{URL: "postgres://localhost/x"}
	for name, tt := range map[string]struct {
		cfg  server.Config
		want string
	}{
		"no database":           {server.Config{Tokens: secret}, "Database.URL is missing"},
		"nobody can be known":   {server.Config{Database: database}, "Secret"},
		"sessions of any page":  {server.Config{Database: database, Authenticate: principalOf, HTTP: httpapi.Config{AllowedOrigins: []string{"*"}}}, "AllowedOrigins"},
		"a limit that is wrong": {server.Config{Database: database, Tokens: secret, Hub: hub.Config{FeedBytes: -1}}, "FeedBytes"},
		"a time that is wrong":  {server.Config{Database: database, Tokens: secret, HTTP: httpapi.Config{WriteTimeout: -1}}, "WriteTimeout"},
	} {
		if _, err := server.New(tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error about %s", name, err, tt.want)
		}
	}
}
