package forward_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/forward"
	"github.com/taskfeed/taskfeed/lab/locked"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// patience bounds every wait for something that must happen.
const patience = 30 * time.Second

const key = "a key of the tests alone, of 40 bytes ..."

// fixture is a database with a log, and an endpoint.
type fixture struct {
	store   *store.Store
	session *store.Session
	app     *pgx.Conn
	logged  *locked.Buffer
	to      *endpoint
}

func setup(t *testing.T) *fixture {
	t.Helper()
	dbURL := pgtest.New(t)
	st, err := store.Open(t.Context(), store.Config{URL: dbURL, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatalf("open the store: %v", err)
	}
	t.Cleanup(st.Close)
	session, err := st.OpenSession(t.Context())
	if err != nil {
		t.Fatalf("open a session: %v", err)
	}
	t.Cleanup(session.Close)
	f := &fixture{store: st, session: session, app: pgtest.Connect(t, dbURL), logged: &locked.Buffer{}}
	f.to = newEndpoint(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", f.logged)
		}
	})
	return f
}

// tell puts an event with a number into the log of each of the users, in this order.
func (f *fixture) tell(t *testing.T, n int, users ...string) {
	t.Helper()
	for _, user := range users {
		if _, err := f.app.Exec(t.Context(), `SELECT taskfeed.notify($1, 'x', jsonb_build_object('n', $2::int))`, user, n); err != nil {
			t.Fatalf("notify: %v", err)
		}
	}
	f.move(t)
}

func (f *fixture) move(t *testing.T) {
	t.Helper()
	for {
		moved, err := f.session.Move(t.Context())
		if err != nil {
			t.Fatalf("move: %v", err)
		}
		if !moved.More {
			return
		}
	}
}

// config is quick, and begins with the oldest event.
func (f *fixture) config() forward.Config {
	secrets, err := forward.ParseSecrets("whsec_" + base64.StdEncoding.EncodeToString([]byte(key)))
	if err != nil {
		panic(err)
	}
	var oldest taskfeed.Cursor
	return forward.Config{Name: "crm", URL: f.to.URL, Secrets: secrets, After: &oldest, AllowPrivate: true,
		MinPause: 10 * time.Millisecond, MaxPause: 50 * time.Millisecond, Poll: 10 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(f.logged, nil))}
}

// running is a forwarder that runs.
type running struct {
	stop  context.CancelFunc
	ended chan error
}

// start runs a forwarder until the test ends or end is called.
func (f *fixture) start(t *testing.T, cfg forward.Config) *running {
	t.Helper()
	fw, err := forward.New(f.store, f.store, cfg)
	if err != nil {
		t.Fatalf("new: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	r := &running{stop, make(chan error, 1)}
	go func() { r.ended <- fw.Run(ctx) }()
	t.Cleanup(func() { r.end(t) })
	return r
}

// end stops a forwarder and waits for it. A second call does nothing.
func (r *running) end(t *testing.T) {
	t.Helper()
	r.stop()
	if err := r.wait(t); err != nil {
		t.Errorf("the forwarder ended with %v, want an ordered stop", err)
	}
}

func (r *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case err, first := <-r.ended:
		if first {
			close(r.ended)
		}
		return err
	case <-time.After(patience):
		t.Fatalf("the forwarder still runs after %v", patience)
		return nil
	}
}

// got is a message that the endpoint was sent.
type got struct {
	ID   string
	User string
	N    int
	Try  int // of this event, from 1
}

// endpoint receives messages, and refuses the test if one is not signed.
type endpoint struct {
	*httptest.Server
	t *testing.T

	mu     sync.Mutex
	answer func(w http.ResponseWriter, r *http.Request, m got) (took bool)
	all    []got // in the order in which they came
	took   []got
	tries  map[string]int
}

func newEndpoint(t *testing.T) *endpoint {
	e := &endpoint{t: t, tries: make(map[string]int), answer: accept}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Server.Close)
	return e
}

func accept(http.ResponseWriter, *http.Request, got) bool { return true }

// answers makes the endpoint answer in another way from now on.
func (e *endpoint) answers(answer func(w http.ResponseWriter, r *http.Request, m got) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = answer
}

// ServeHTTP implements http.Handler.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var m struct {
		User string `json:"user_id"`
		Data struct{ N int }
	}
	if err := json.Unmarshal(body, &m); err != nil {
		e.t.Errorf("the body %s is no JSON: %v", body, err)
	}
	id := r.Header.Get("webhook-id")
	mac := hmac.New(sha256.New, []byte(key))
	fmt.Fprintf(mac, "%s.%s.%s", id, r.Header.Get("webhook-timestamp"), body)
	if got, want := r.Header.Get("webhook-signature"), "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)); got != want {
		e.t.Errorf("signature: got %q, want %q", got, want)
	}
	e.mu.Lock()
	e.tries[id]++
	g := got{id, m.User, m.Data.N, e.tries[id]}
	e.all = append(e.all, g)
	answer := e.answer
	e.mu.Unlock()
	if answer(w, r, g) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.took = append(e.took, g)
	}
}

// of returns the numbers of a user's messages that were taken, each once.
func (e *endpoint) of(user string) (ns []int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, g := range e.took {
		if g.User == user && !slices.Contains(ns, g.N) {
			ns = append(ns, g.N)
		}
	}
	return ns
}

func (e *endpoint) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.all)
}

// eventually asks again and again until the answer is yes.
func eventually(t *testing.T, what string, answer func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !answer() {
		select {
		case <-deadline.C:
			t.Fatalf("%s did not happen within %v", what, patience)
		case <-tick.C:
		}
	}
}

// wantTaken waits until the endpoint has taken exactly these events of a user, in order.
func (f *fixture) wantTaken(t *testing.T, user string, want ...int) {
	t.Helper()
	eventually(t, fmt.Sprintf("the endpoint takes %d events of %q", len(want), user), func() bool { return len(f.to.of(user)) >= len(want) })
	if got := f.to.of(user); !slices.Equal(got, want) {
		t.Fatalf("events of %q: got %v, want %v", user, got, want)
	}
}

// cursor is what the database keeps.
func (f *fixture) cursor(t *testing.T) (cursor, lost int64) {
	t.Helper()
	if err := f.app.QueryRow(t.Context(), `SELECT cursor, lost FROM taskfeed.forwards WHERE name = 'crm'`).Scan(&cursor, &lost); err != nil {
		t.Fatalf("read the cursor: %v", err)
	}
	return cursor, lost
}

func (f *fixture) failures(t *testing.T) []store.ForwardFailure {
	t.Helper()
	all, err := f.store.ForwardFailures(t.Context(), "crm", 0, 1000)
	if err != nil {
		t.Fatalf("list failures: %v", err)
	}
	return all
}
