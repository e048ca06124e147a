package upgrade

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/client"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/internal/proc"
	"github.com/taskfeed/taskfeed/lab/locked"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const secret = "a secret of the tests alone, of 32 bytes"

// place is where a server runs, now of the one version and then of the other.
type place struct {
	*testing.T
	database string
	port     string
	process  *proc.Process
	log      *locked.Buffer
}

func newPlace(t *testing.T, databaseURL string) *place {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	p := &place{T: t, database: databaseURL, port: port, log: &locked.Buffer{}}
	t.Cleanup(func() {
		if p.process != nil {
			p.process.Kill()
		}
		if t.Failed() {
			t.Logf("log of the servers at port %s:\n%s", port, p.log)
		}
	})
	return p
}

func (p *place) launch(binary string) {
	p.Helper()
	cmd := exec.Command(binary, "serve")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "DATABASE_URL=" + p.database, "TASKFEED_JWT_SECRET=" + secret, "TASKFEED_ADDR=127.0.0.1", "PORT=" + p.port, "TASKFEED_DRAIN=200ms"}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	proc.Attach(cmd, syscall.SIGKILL)
	var err error
	if p.process, err = proc.Start(cmd); err != nil {
		p.Fatalf("start %s: %v", binary, err)
	}
}

// start runs a server of a version and waits until it is ready.
func (p *place) start(binary, version string) {
	p.Helper()
	p.launch(binary)
	p.eventually("the server is ready", func() bool { return p.get("/readyz") != "" })
	if got := p.get("/healthz"); !strings.Contains(got, `"version":"`+version+`"`) {
		p.Fatalf("/healthz: got %s, want version %s", got, version)
	}
}

func (p *place) stop() {
	p.Helper()
	p.process.Signal(syscall.SIGTERM)
	if !p.process.Wait(30*time.Second) || p.process.Err() != nil {
		p.Errorf("the server at port %s: got %v at SIGTERM, want an ordered end", p.port, p.process.Err())
	}
}

// get returns the body of an answer with status 200, and "" without one.
func (p *place) get(path string) string {
	ctx, cancel := context.WithTimeout(p.Context(), 3*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+p.port+path, nil)
	if err != nil {
		return ""
	}
	r.Close = true
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		return ""
	}
	defer w.Body.Close()
	body, err := io.ReadAll(w.Body)
	if err != nil || w.StatusCode != http.StatusOK {
		return ""
	}
	return string(body)
}

func (p *place) awaitLead() {
	p.Helper()
	p.eventually("the server leads", func() bool { return strings.Contains(p.get("/metrics"), "\ntaskfeed_is_leader 1\n") })
}

func (p *place) eventually(what string, holds func() bool) {
	p.Helper()
	if !within(p.Context(), holds) {
		p.Fatalf("%s at port %s: not in time", what, p.port)
	}
}

func within(ctx context.Context, holds func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for !holds() {
		if !pause.For(ctx, 20*time.Millisecond) {
			return false
		}
	}
	return true
}

// reader is a client that stays with one place and keeps the ids that it was told.
type reader struct {
	mu  sync.Mutex
	ids []taskfeed.Cursor
}

func (r *reader) told() []taskfeed.Cursor {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ids)
}

// load is what goes on while versions change: writers, and a client at each place.
type load struct {
	*testing.T
	readers []*reader
	stop    func() // ends the writers
	end     func() // ends the clients
}

func startLoad(t *testing.T, databaseURL string, places ...*place) *load {
	t.Helper()
	token, err := auth.Issue(auth.Config{Secret: []byte(secret)}, "alice", "", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	l := &load{T: t}
	var writers, clients sync.WaitGroup
	writing, stop := context.WithCancel(t.Context())
	reading, end := context.WithCancel(t.Context())
	l.stop = func() { stop(); writers.Wait() }
	l.end = func() { end(); clients.Wait() }
	t.Cleanup(func() { l.stop(); l.end() })
	for i := range 3 {
		conn := pgtest.Connect(t, databaseURL)
		writers.Go(func() {
			for n := 0; pause.For(writing, 3*time.Millisecond); n++ {
				if _, err := conn.Exec(context.WithoutCancel(writing), `INSERT INTO taskfeed.tasks (id, user_id, status, progress) VALUES ($1, 'alice', 'running', $2)
					ON CONFLICT (id) DO UPDATE SET progress = excluded.progress`, fmt.Sprintf("t%d-%d", i, n/50), n%50); err != nil {
					t.Errorf("write: %v", err)
					return
				}
			}
		})
	}
	for _, p := range places {
		r := new(reader)
		l.readers = append(l.readers, r)
		feed, err := client.New(client.Config{URL: "http://127.0.0.1:" + p.port, UserID: "alice", Token: client.StaticToken(token),
			After: new(taskfeed.Cursor), Backoff: client.Backoff{Min: 20 * time.Millisecond, Max: 200 * time.Millisecond}})
		if err != nil {
			t.Fatal(err)
		}
		clients.Go(func() {
			err := feed.Run(reading, func(_ context.Context, e taskfeed.Event) error {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.ids = append(r.ids, e.ID)
				return nil
			})
			if reading.Err() == nil {
				t.Errorf("the client at port %s ended: %v", p.port, err)
			}
		})
	}
	return l
}

// goesOn waits until the clients that are connected have been told of more events.
func (l *load) goesOn(what string, readers ...int) {
	l.Helper()
	for _, i := range readers {
		before := len(l.readers[i].told())
		if !within(l.Context(), func() bool { return len(l.readers[i].told()) >= before+100 || l.Failed() }) {
			l.Fatalf("%s: client %d is told nothing", what, i)
		}
	}
	l.Log(what)
}

// Servers of two versions work on one database: a new one takes the lead from an old
// one and the other way, and clients of both are told of every event, each once, in
// order. Where the schema did not change, old servers may be started again.
func TestTwoVersions(t *testing.T) {
	p := buildBoth(t)
	database := pgtest.Empty(t)
	a, b := newPlace(t, database), newPlace(t, database)
	a.start(p.before, p.from) // makes the schema
	b.start(p.before, p.from)
	l := startLoad(t, database, a, b)
	l.goesOn("both old", 0, 1)

	a.stop()
	a.start(p.now, version) // migrates
	l.goesOn("one new, one old", 0, 1)
	a.stop()
	b.awaitLead()
	l.goesOn("old alone, on the new schema", 1)
	a.start(p.now, version)
	b.stop()
	a.awaitLead()
	l.goesOn("new alone", 0)
	if p.same {
		b.start(p.before, p.from)
		a.stop()
		b.awaitLead()
		a.start(p.before, p.from)
		l.goesOn("rolled back", 0, 1)
		b.stop()
		b.start(p.now, version)
		a.stop()
		b.awaitLead()
		a.start(p.now, version)
	} else {
		b.launch(p.before)
		if !b.process.Wait(30*time.Second) || b.process.Err() == nil {
			t.Error("an old program has started on a newer schema, want it to refuse that")
		}
		b.start(p.now, version)
	}
	l.goesOn("both new", 0, 1)
	l.stop()
	l.wantAll(database)
}

// wantAll waits until every client was told of the last event, and compares what they
// were told with the log.
func (l *load) wantAll(databaseURL string) {
	l.Helper()
	conn := pgtest.Connect(l, databaseURL)
	var waiting int
	if !within(l.Context(), func() bool {
		if err := conn.QueryRow(l.Context(), `SELECT count(*) FROM taskfeed.changes`).Scan(&waiting); err != nil {
			l.Fatal(err)
		}
		return waiting == 0
	}) {
		l.Fatalf("%d changes never came into the log", waiting)
	}
	var log []taskfeed.Cursor
	if err := conn.QueryRow(l.Context(), `SELECT array_agg(id ORDER BY id) FROM taskfeed.events WHERE user_id = 'alice'`).Scan(&log); err != nil {
		l.Fatal(err)
	}
	for i, r := range l.readers {
		if !within(l.Context(), func() bool { ids := r.told(); return len(ids) > 0 && ids[len(ids)-1] >= log[len(log)-1] }) {
			l.Errorf("client %d was never told of the last event", i)
		}
		if got := r.told(); !slices.Equal(got, log) {
			l.Errorf("client %d was told of %d events, want the %d of the log, each once and in order", i, len(got), len(log))
		}
	}
	l.end()
}
