package listener_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/listener"
	"github.com/taskfeed/taskfeed/store"
)

// childURL names a database. The test binary, started with it, is a server that a
// test stops or kills.
const childURL = "TASKFEED_TEST_CHILD_URL"

func TestMain(m *testing.M) {
	if url := os.Getenv(childURL); url != "" {
		if err := runChild(url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	pgtest.Main(m)
}

// patience bounds every wait.
const patience = 30 * time.Second

// stall is the shortest time after which a frozen leader is replaced.
const stall = 3 * time.Second

// server is a listener on a store of its own.
type server struct {
	*listener.Listener
	feed *feed
	stop func()
}

// start runs a listener until the test ends or stop is called.
func start(t *testing.T, cfg store.Config, lcfg listener.Config, wrap func(listener.Session) listener.Session) *server {
	t.Helper()
	return startQuickRing(t, cfg, lcfg, wrap, 0)
}

// started counts servers, so that the log of a failed test tells them apart.
var started atomic.Int64

// startQuickRing is start with a bound of its own for what counts as a quick ring.
func startQuickRing(t *testing.T, cfg store.Config, lcfg listener.Config, wrap func(listener.Session) listener.Session, quickRing time.Duration) *server {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(t.Output(), nil)).With("server", started.Add(1))
	if cfg.Logger == nil {
		cfg.Logger = logger
	}
	if lcfg.Logger == nil {
		lcfg.Logger = logger
	}
	st, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("open the store: %v", err)
	}
	s := &server{feed: newFeed()}
	s.Listener, err = listener.New(func(ctx context.Context) (listener.Session, error) {
		session, err := st.OpenSession(ctx)
		if err != nil || wrap == nil {
			return session, err
		}
		return wrap(session), nil
	}, s.feed, lcfg)
	if err != nil {
		t.Fatalf("new: %v", err)
	}
	if quickRing > 0 {
		s.SetQuickRing(quickRing)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var stopped atomic.Bool
	s.stop = func() {
		t.Helper()
		if stopped.Swap(true) {
			return
		}
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("run: got %v, want nil after an ordered stop", err)
			}
		case <-time.After(patience):
			t.Errorf("run did not return within %v", patience)
		}
		st.Close()
	}
	t.Cleanup(s.stop)
	return s
}

// runChild runs a server that prints the ids it publishes, one a line, until it is
// interrupted.
func runChild(url string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	quiet := slog.New(slog.DiscardHandler)
	st, err := store.Open(ctx, store.Config{URL: url, StallTimeout: stall, Logger: quiet})
	if err != nil {
		return err
	}
	defer st.Close()
	l, err := listener.New(func(ctx context.Context) (listener.Session, error) { return st.OpenSession(ctx) }, printer{}, listener.Config{Logger: quiet})
	if err != nil {
		return err
	}
	return l.Run(ctx)
}

type printer struct{}

func (printer) SetHead(head taskfeed.Cursor) { fmt.Println("head", head) }

func (printer) ForgetLog() {}

func (printer) Skip(taskfeed.Cursor, int) bool { return false }

func (printer) Publish(events []taskfeed.Event) {
	out := bufio.NewWriter(os.Stdout)
	for _, e := range events {
		fmt.Fprintln(out, "event", e.ID)
	}
	_ = out.Flush() // without a reader the test has ended
}

func exec(t *testing.T, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// value reads one value.
func value[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// eventually polls until the answer is true.
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

// add commits n changes, each in a transaction of its own.
func add(t *testing.T, conn *pgx.Conn, n int) {
	t.Helper()
	for range n {
		exec(t, conn, "INSERT INTO taskfeed.tasks (user_id) VALUES ('alice')")
	}
}

// leads waits until a server leads.
func (s *server) leads(t *testing.T) {
	t.Helper()
	eventually(t, "leading", func() bool { return s.Stats().Leader })
}

// follows waits until a server is ready and does not lead.
func (s *server) follows(t *testing.T) {
	t.Helper()
	eventually(t, "following", func() bool { return s.Ready() == nil && !s.Stats().Leader })
}

// has waits until a server has published n events.
func (s *server) has(t *testing.T, n int) []taskfeed.Cursor {
	t.Helper()
	var ids []taskfeed.Cursor
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		if ids = s.feed.published(t); len(ids) >= n {
			break
		}
		select {
		case <-s.feed.more:
		case <-deadline.C:
			t.Fatalf("%d events were published within %v, want %d; ready: %v; %+v", len(ids), patience, n, s.Ready(), s.Stats())
		}
	}
	if len(ids) > n {
		t.Fatalf("%d events were published, want %d", len(ids), n)
	}
	return ids
}

// log returns the ids in the log.
func log(t *testing.T, conn *pgx.Conn) []taskfeed.Cursor {
	t.Helper()
	rows, _ := conn.Query(t.Context(), "SELECT id FROM taskfeed.events ORDER BY id")
	ids, err := pgx.CollectRows(rows, pgx.RowTo[taskfeed.Cursor])
	if err != nil {
		t.Fatalf("read the log: %v", err)
	}
	return ids
}

// publishesLog waits until the servers have published n events, and fails unless
// those are the log in its order.
func publishesLog(t *testing.T, conn *pgx.Conn, n int, servers ...*server) {
	t.Helper()
	for i, s := range servers {
		got := s.has(t, n)
		if want := log(t, conn); !slices.Equal(got, want) {
			t.Fatalf("server %d published %v, want the log %v", i, got, want)
		}
	}
}

// sqlTerminateSessions ends the sessions of all listeners of the database.
const sqlTerminateSessions = `
SELECT count(pg_terminate_backend(pid))::int
FROM pg_stat_activity
WHERE datname = current_database()
  AND application_name = 'taskfeed listener'`
