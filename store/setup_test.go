package store_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/devpg"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/lab/plans"
	"github.com/taskfeed/taskfeed/migrations"
	"github.com/taskfeed/taskfeed/store"
	"github.com/taskfeed/taskfeed/store/history"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// patience bounds every wait for something that must happen.
const patience = 20 * time.Second

// fixture is a database of the test's own with a store and a session on it, and
// a connection that plays the app.
type fixture struct {
	url     string
	store   *store.Store
	session *store.Session
	app     *pgx.Conn
	told    taskfeed.Cursor // the last event that fold returned
}

func setup(t *testing.T) *fixture {
	t.Helper()
	return setupAt(t, pgtest.New(t))
}

func setupAt(t *testing.T, url string) *fixture {
	t.Helper()
	f := &fixture{url: url, store: openStore(t, store.Config{URL: url})}
	f.session = openSession(t, f.store)
	f.app = pgtest.Connect(t, url)
	return f
}

// traced returns a reader of the history whose statements are recorded.
func (f *fixture) traced(t *testing.T) (*history.Reader, *plans.Recorder) {
	t.Helper()
	recorded := &plans.Recorder{}
	pool := *f.store.Queries()
	pool.Conns = recorded.Watch(t, pool.Conns)
	return history.New(&pool), recorded
}

// history reads what lists and timelines show.
func (f *fixture) history() *history.Reader { return history.New(f.store.Queries()) }

func openStore(t *testing.T, cfg store.Config) *store.Store {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("open the store: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

func openSession(t *testing.T, s *store.Store) *store.Session {
	t.Helper()
	session, err := s.OpenSession(t.Context())
	if err != nil {
		t.Fatalf("open a session: %v", err)
	}
	t.Cleanup(session.Close)
	return session
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

// add creates a task with this id.
func add(t *testing.T, conn *pgx.Conn, id string) {
	t.Helper()
	exec(t, conn, "INSERT INTO taskfeed.tasks (id, user_id) VALUES ($1, 'alice')", id)
}

// addMany creates n tasks in one statement.
func addMany(t *testing.T, conn *pgx.Conn, prefix string, n int) {
	t.Helper()
	exec(t, conn, "INSERT INTO taskfeed.tasks (id, user_id) SELECT $1 || i, 'alice' FROM generate_series(1, $2::int) AS i", prefix, n)
}

// move looks as the listener does: after what the look before it has left to do.
func move(t *testing.T, s *store.Session) taskfeed.Moved {
	t.Helper()
	if err := s.AfterLook(t.Context()); err != nil {
		t.Fatalf("after the look before: %v", err)
	}
	m, err := s.Move(t.Context())
	if err != nil {
		t.Fatalf("move: %v", err)
	}
	return m
}

// moveAll moves until nothing visible is left.
func moveAll(t *testing.T, s *store.Session) {
	t.Helper()
	for move(t, s).More {
	}
}

// moveBacklog moves a backlog and returns what each page appended.
func moveBacklog(t *testing.T, s *store.Session) []taskfeed.Moved {
	t.Helper()
	var pages []taskfeed.Moved
	err := s.MoveBacklog(t.Context(), func(m taskfeed.Moved) error {
		pages = append(pages, m)
		return nil
	})
	if err != nil {
		t.Fatalf("move the backlog: %v", err)
	}
	return pages
}

// tasks names the events by their tasks, in order.
func tasks(events []taskfeed.Event) []string {
	ids := make([]string, 0, len(events))
	for _, e := range events {
		ids = append(ids, e.TaskID)
	}
	return ids
}

// versions names the events by task and version, in order.
func versions(events []taskfeed.Event) []string {
	names := make([]string, 0, len(events))
	for _, e := range events {
		names = append(names, fmt.Sprintf("%s/%d", e.TaskID, e.Version))
	}
	return names
}

// readLog reads the whole log through After.
func readLog(t *testing.T, s *store.Store) []taskfeed.Event {
	t.Helper()
	return readFeed(t, s, taskfeed.Filter{All: true}, 1000)
}

func readFeed(t *testing.T, s *store.Store, f taskfeed.Filter, limit int) []taskfeed.Event {
	t.Helper()
	var all []taskfeed.Event
	var after taskfeed.Cursor
	for {
		page, _, more, err := s.After(t.Context(), f, after, limit)
		if err != nil {
			t.Fatalf("read events after %s: %v", after, err)
		}
		if len(page) > limit {
			t.Fatalf("a page has %d events, want at most %d", len(page), limit)
		}
		all = append(all, page...)
		if !more {
			return all
		}
		after = page[len(page)-1].ID
	}
}

func wantEqual[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func wantCode(t *testing.T, err error, want taskfeed.Code) {
	t.Helper()
	if got := taskfeed.CodeOf(err); got != want {
		t.Fatalf("code: got %q (%v), want %q", got, err, want)
	}
}

// eventually asks again and again until the answer is yes.
func eventually(t *testing.T, what string, answer func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !answer() {
		select {
		case <-deadline.C:
			t.Fatalf("%s did not happen within %v", what, patience)
		case <-tick.C:
		}
	}
}

// waiting reports whether a backend waits for a lock of the database.
func waiting(t *testing.T, conn *pgx.Conn, pid uint32) bool {
	t.Helper()
	return value[bool](t, conn, "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)", pid)
}

func pid(s *store.Session) uint32 { return s.Conn().PgConn().PID() }

func mention(err error, words ...string) bool {
	return err != nil && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(err.Error(), w) })
}

// fillPartitions puts n events into each of so many partitions: of 100 users and
// 1,000 tasks, each hundredth a broadcast, and three of a user named rare.
func fillPartitions(t *testing.T, f *fixture, partitions, n int) {
	t.Helper()
	for k := range partitions {
		exec(t, f.app, "SELECT setval('taskfeed.event_id', $1)", max(1, int64(k)*store.PartitionWidth))
		if err := f.session.Maintain(t.Context(), 0); err != nil {
			t.Fatalf("make partitions: %v", err)
		}
		exec(t, f.app, `
			INSERT INTO taskfeed.events (id, user_id, task_id, type, version, data, created_at)
			SELECT $1::bigint + i,
				CASE WHEN i % 100 = 0 THEN NULL WHEN i % 9999 = 1 THEN 'rare' ELSE 'user' || i % 100 END,
				'task' || i % 1000, 'task_progress', 1, '{"progress": 5}', now()
			FROM generate_series(1, $2::int) AS i`, int64(k)*store.PartitionWidth, n)
		exec(t, f.app, "SELECT setval('taskfeed.event_id', $1)", int64(k)*store.PartitionWidth+int64(n))
	}
	exec(t, f.app, "ANALYZE taskfeed.events")
}

// migrated returns the URL of a database on a server of the test's own.
func migrated(t *testing.T, server *devpg.Server) string {
	t.Helper()
	pgtest.Exec(t, server.URL("postgres"), "CREATE DATABASE app")
	url := server.URL("app")
	if err := migrations.Up(t.Context(), url); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	return url
}

// promote stops a server and starts it again on a new timeline, as a standby that
// is promoted does.
func promote(t *testing.T, server *devpg.Server) {
	t.Helper()
	if err := server.StopMode(devpg.Fast); err != nil {
		t.Fatalf("stop: %v", err)
	}
	if err := os.WriteFile(filepath.Join(server.DataDir(), "recovery.signal"), nil, 0o644); err != nil {
		t.Fatalf("ask for recovery: %v", err)
	}
	if err := server.Restart(t.Context(), devpg.Fast); err != nil {
		t.Fatalf("start: %v", err)
	}
}
