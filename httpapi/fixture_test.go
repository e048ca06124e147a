package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/feeds"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/lab/locked"
	"github.com/taskfeed/taskfeed/lab/wstest"
)

// fixture is a running server with a log in memory.
type fixture struct {
	*Server
	t    *testing.T
	log  *memLog
	hub  *hub.Hub
	logs *logBuffer
	url  string // http://127.0.0.1:port
	stop context.CancelFunc
	done chan error // what Run returned

	mu      sync.Mutex
	secrets []string // must not be in the log
}

// setup is what differs from the usual server. Intervals are long unless a test
// shortens them.
type setup struct {
	cfg    Config
	deps   Deps // Hub and Log are the fixture's
	limits hub.Config
	first  taskfeed.Cursor // the log keeps nothing at or below it
}

var authConfig = auth.Config{Secret: []byte("a secret of the tests, 32 bytes long"), Leeway: -1}

// serve starts a server and stops it at the end of the test, when it also searches
// everything that was logged for tokens.
func serve(t *testing.T, with setup) *fixture {
	t.Helper()
	f := &fixture{t: t, log: &memLog{oldest: with.first}, logs: new(logBuffer), done: make(chan error, 1)}
	if with.limits.RecentLogBytes == 0 {
		with.limits.RecentLogBytes = -1 // many servers run at once
	}
	f.hub = must(hub.New(f.log, with.limits))
	f.hub.SetHead(with.first)
	f.log.hub = f.hub

	deps := with.deps
	deps.Hub = f.hub
	deps.Log = slog.New(slog.NewJSONHandler(f.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if deps.Verifier == nil {
		deps.Verifier = must(auth.New(authConfig))
	}
	cfg := with.cfg
	cfg.Listener = must(net.Listen("tcp", "127.0.0.1:0"))
	if cfg.Drain == 0 {
		cfg.Drain = -1
	}
	if cfg.CheckInterval == 0 {
		cfg.CheckInterval = -1 // metrics are always current
	}
	if cfg.CloseTimeout == 0 {
		cfg.CloseTimeout = 2 * time.Second
	}
	if cfg.ReadHeaderTimeout == 0 {
		cfg.ReadHeaderTimeout = time.Minute // a crowd on a busy machine
	}
	f.Server = must(New(deps, cfg))
	f.url = "http://" + cfg.Listener.Addr().String()

	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	go func() { f.done <- f.Run(ctx) }()
	t.Cleanup(f.shutDown)
	return f
}

func (f *fixture) shutDown() {
	f.stop()
	if err := f.wait(); err != nil {
		f.t.Errorf("Run returned %v, want nil", err)
	}
	select {
	case <-f.feeds.Idle():
	default:
		f.t.Error("Run has returned and connections are left behind")
	}
	logs := f.logs.String()
	for _, secret := range append(f.secrets, "eyJ") {
		if at := strings.Index(logs, secret); at >= 0 {
			f.t.Errorf("the log holds a token: …%s…", logs[max(0, at-200):min(len(logs), at+60)])
		}
	}
}

// wait waits for Run to return.
func (f *fixture) wait() error {
	select {
	case err := <-f.done:
		f.done <- err // for the next call
		return err
	case <-time.After(wstest.Patience):
		return errors.New("nothing")
	}
}

// token returns a good token of the user, who sees further feeds.
func (f *fixture) token(userID string, feeds ...string) string {
	token := must(auth.Issue(authConfig, userID, "", time.Hour, feeds...))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.secrets = append(f.secrets, token, token[strings.LastIndexByte(token, '.')+1:])
	return token
}

// feedURL is the URL of the user's feed, with a good token and further parameters.
func (f *fixture) feedURL(userID string, params ...string) string {
	return f.url + "/ws/" + userID + "?" + strings.Join(append(params, "token="+f.token(userID)), "&")
}

// dial connects as a plain client, or with further parameters.
func (f *fixture) dial(userID string, params ...string) *wstest.Client {
	f.t.Helper()
	return wstest.Dial(f.t, f.feedURL(userID, params...), wstest.Options{})
}

// dialRaw connects a client that does not answer pings or closes by itself.
func (f *fixture) dialRaw(userID string, params ...string) *wstest.Raw {
	f.t.Helper()
	return wstest.DialRaw(f.t, f.feedURL(userID, params...), nil)
}

// get asks for a URL and returns the answer and its body.
func (f *fixture) get(path string) (*http.Response, string) {
	f.t.Helper()
	return f.do(must(http.NewRequest(http.MethodGet, f.url+path, nil)))
}

func (f *fixture) do(r *http.Request) (*http.Response, string) {
	f.t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: wstest.Patience}
	resp, err := client.Do(r)
	if err != nil {
		f.t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		f.t.Fatalf("read body: %v", err)
	}
	theContract(f.t).CheckAnswer(f.t, r, resp, body)
	return resp, string(body)
}

// connections lists the open connections.
func (f *fixture) connections() []feeds.Connection {
	open, _ := f.feeds.Connections("", false, "", math.MaxInt)
	return open
}

// connectionID is the id of the n-th connection that the server opened.
func (f *fixture) connectionID(n int) string { return fmt.Sprintf("%s-%d", f.feeds.ServerID(), n) }

// awaitEnd waits until this many connections have ended and released everything.
func (f *fixture) awaitEnd(count int) {
	f.t.Helper()
	f.eventually(fmt.Sprintf("%d connections have ended", count), func() bool {
		_, body := f.get("/metrics")
		ended := 0
		for _, match := range closesLine.FindAllStringSubmatch(body, -1) {
			ended += must(strconv.Atoi(match[1]))
		}
		return ended == count
	})
}

var closesLine = regexp.MustCompile(`(?m)^taskfeed_closes_total\{.*\} (\d+)$`)

// eventually waits until the condition holds.
func (f *fixture) eventually(what string, holds func() bool) {
	f.t.Helper()
	deadline := time.NewTimer(wstest.Patience)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			f.t.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}

// metric returns the value of the metric's line that begins like this, -1 if there
// is none.
func (f *fixture) metric(line string) float64 {
	f.t.Helper()
	_, body := f.get("/metrics")
	for l := range strings.Lines(body) {
		var value float64
		if rest, ok := strings.CutPrefix(l, line+" "); ok {
			if _, err := fmt.Sscan(rest, &value); err != nil {
				f.t.Fatalf("metric %s: %v", l, err)
			}
			return value
		}
	}
	return -1
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// memLog is an event log in memory that publishes its events to the hub.
type memLog struct {
	hub *hub.Hub

	mu     sync.Mutex
	oldest taskfeed.Cursor // nothing at or below it is kept
	events []taskfeed.Event
	fail   func() error // After returns its error, unless nil
}

// After implements hub.Log.
func (l *memLog) After(_ context.Context, f taskfeed.Filter, after taskfeed.Cursor, limit int) (found []taskfeed.Event, through taskfeed.Cursor, more bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		if err := l.fail(); err != nil {
			return nil, 0, false, err
		}
	}
	if after > 0 && after < l.oldest {
		return nil, 0, false, &taskfeed.Error{Code: taskfeed.CodeGone, Message: "too old"}
	}
	for i := range l.events {
		if e := &l.events[i]; e.ID > after && f.Match(e) && len(found) < limit {
			found = append(found, *e)
		}
	}
	if more = len(found) == limit; more {
		through = found[limit-1].ID
	}
	return found, through, more, nil
}

// Head implements hub.Log.
func (l *memLog) Head(context.Context) (taskfeed.Cursor, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head(), nil
}

func (l *memLog) head() taskfeed.Cursor {
	if len(l.events) == 0 {
		return l.oldest
	}
	return l.events[len(l.events)-1].ID
}

// failWith makes every read call fn first and fail with its error.
func (l *memLog) failWith(fn func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = fn
}

// add appends events of the user's task with this data, one for each, and
// returns their ids.
func (l *memLog) add(userID string, typ taskfeed.Type, data ...string) []taskfeed.Cursor {
	l.mu.Lock()
	var ids []taskfeed.Cursor
	var added []taskfeed.Event
	for i, d := range data {
		ids = append(ids, l.head()+1+taskfeed.Cursor(i))
		added = append(added, taskfeed.Event{
			ID: ids[i], UserID: userID, TaskID: "task-1", Type: typ, Version: int64(ids[i]),
			Data: []byte(d), Timestamp: time.Now(),
		})
	}
	l.events = append(l.events, added...)
	l.mu.Unlock()
	l.hub.Publish(added)
	return ids
}

// fakeVerifier verifies tokens with a function, so that they can expire at any moment.
type fakeVerifier func(token string) (auth.Principal, error)

func (v fakeVerifier) Verify(_ context.Context, token string) (auth.Principal, error) {
	return v(token)
}

// logBuffer is a log that many goroutines write.
type logBuffer struct{ locked.Buffer }

// lines returns the lines that contain all the texts.
func (b *logBuffer) lines(texts ...string) []string {
	var found []string
	for line := range strings.Lines(b.String()) {
		if !slices.ContainsFunc(texts, func(s string) bool { return !strings.Contains(line, s) }) {
			found = append(found, line)
		}
	}
	return found
}

// problemDocument is the body of an error (RFC 9457).
type problemDocument struct {
	Type      string                           `json:"type"`
	Title     string                           `json:"title"`
	Status    int                              `json:"status"`
	Detail    string                           `json:"detail"`
	Instance  string                           `json:"instance"`
	Code      taskfeed.Code                    `json:"code"`
	RequestID string                           `json:"request_id"`
	Errors    []struct{ Field, Detail string } `json:"errors,omitempty"` // what is wrong with which parameter
}
