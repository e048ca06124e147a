package history_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/lab/plans"
	"github.com/taskfeed/taskfeed/store"
	"github.com/taskfeed/taskfeed/store/history"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// partitionWidth is how many ids a partition of the log spans.
const partitionWidth = 10_000_000

// fixture is a database of the test's own with a reader of its history, a session
// that sequences, and a connection that plays the app.
type fixture struct {
	url     string
	history *history.Reader
	store   *store.Store
	session *store.Session
	app     *pgx.Conn
}

func setup(t *testing.T) *fixture {
	t.Helper()
	url := pgtest.New(t)
	f := &fixture{url: url, app: pgtest.Connect(t, url), store: openStore(t, store.Config{URL: url})}
	f.history = history.New(f.store.Queries())
	session, err := f.store.OpenSession(t.Context())
	if err != nil {
		t.Fatalf("open a session: %v", err)
	}
	t.Cleanup(session.Close)
	f.session = session
	return f
}

func openStore(t testing.TB, cfg store.Config) *store.Store {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	s, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("open the store: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// open returns a reader of a database.
func open(t testing.TB, cfg store.Config) *history.Reader {
	t.Helper()
	return history.New(openStore(t, cfg).Queries())
}

// traced returns a reader whose statements are recorded.
func traced(t *testing.T, s *store.Store) (*history.Reader, *plans.Recorder) {
	t.Helper()
	recorded := &plans.Recorder{}
	pool := *s.Queries()
	pool.Conns = recorded.Watch(t, pool.Conns)
	return history.New(&pool), recorded
}

func exec(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
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

// moveAll moves all changes that are visible into the log.
func moveAll(t *testing.T, s *store.Session) {
	t.Helper()
	for more := true; more; {
		m, err := s.Move(t.Context())
		if err != nil {
			t.Fatalf("move: %v", err)
		}
		more = m.More
	}
}

// readLog reads a feed from the beginning.
func readLog(t *testing.T, s *store.Store, f taskfeed.Filter) (all []taskfeed.Event) {
	t.Helper()
	var after taskfeed.Cursor
	for more := true; more; {
		var page []taskfeed.Event
		var err error
		if page, after, more, err = s.After(t.Context(), f, after, 1000); err != nil {
			t.Fatalf("read events after %s: %v", after, err)
		}
		all = append(all, page...)
	}
	return all
}

// tasksOf names the events by their tasks, in order.
func tasksOf(events []taskfeed.Event) []string {
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.TaskID
	}
	return ids
}

// versions names the events by task and version, in order.
func versions(events []taskfeed.Event) []string {
	names := make([]string, len(events))
	for i, e := range events {
		names[i] = fmt.Sprintf("%s/%d", e.TaskID, e.Version)
	}
	return names
}

func wantEqual[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// wantRefused expects a bad request whose message begins with the field.
func wantRefused(t *testing.T, name, field string, err error) {
	t.Helper()
	e, _ := errors.AsType[*taskfeed.Error](err)
	if e == nil || e.Code != taskfeed.CodeBadRequest || !strings.HasPrefix(e.Message, field+" ") {
		t.Errorf("%s: got %v, want %s that begins with %q", name, err, taskfeed.CodeBadRequest, field)
	}
}

func wantCode(t *testing.T, err error, want taskfeed.Code) {
	t.Helper()
	if got := taskfeed.CodeOf(err); got != want {
		t.Fatalf("code: got %q (%v), want %q", got, err, want)
	}
}

// mention reports whether an error has all the words.
func mention(err error, words ...string) bool {
	return err != nil && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(err.Error(), w) })
}

// eventually asks again and again until the answer is yes.
func eventually(t *testing.T, what string, answer func() bool) {
	t.Helper()
	const patience = 20 * time.Second
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
