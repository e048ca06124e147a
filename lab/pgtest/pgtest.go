// Package pgtest gives each test a Postgres database of its own.
//
// Each test process has one private server; the first test that needs it starts it.
// One database is migrated once and copied for each test, because NOTIFY and advisory
// locks are shared between schemas but not between databases. A database is dropped
// when its test ends, even when sessions are still connected.
//
// The server's files are in memory where there is room, unless TMPDIR is set.
//
// With TEST_DATABASE_URL set, databases are created on that server instead. Its user
// must be a superuser.
//
// With TASKFEED_TEST_HOSTILE set, the schema public of each database from New is full
// of operators and functions that match better than those of Postgres, so that every
// test fails whose statements bind to them: see [Hostile].
//
// A package that uses pgtest calls [Main] in its TestMain. Roles belong to the whole
// server: tests give the roles that they create unique names.
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/taskfeed/taskfeed/internal/devpg"
	"github.com/taskfeed/taskfeed/lab/leaktest"
	"github.com/taskfeed/taskfeed/migrations"
)

// cleanupTimeout bounds what runs after a test's own context is done.
const cleanupTimeout = 30 * time.Second

// shared is this process's server. It is a package variable because tests of one
// process share nothing else.
var shared harness

// Main runs the tests, ends the server, checks that no goroutine is left, and
// exits. Options are those of leaktest.Main.
func Main(m goleak.TestingM, options ...goleak.Option) {
	shared.inMain.Store(true)
	leaktest.Main(runner{m}, options...)
}

// runner ends the server between the tests and the check for leaks.
type runner struct{ m goleak.TestingM }

// Run runs the tests.
func (r runner) Run() int {
	status := r.m.Run()
	if err := shared.close(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest: end the server:", err)
		return max(status, 1)
	}
	return status
}

// New returns the URL of a new database with the current schema.
func New(t testing.TB) string {
	t.Helper()
	h := server(t)
	h.migrate.Do(func() { h.template, h.migrateErr = h.newTemplate(t.Context()) })
	if h.migrateErr != nil {
		t.Fatalf("pgtest: migrate a database: %v", h.migrateErr)
	}
	kind := ""
	if everywhere() {
		kind = hostileKind
	}
	return h.create(t, h.template, kind)
}

// Empty returns the URL of a new database without taskfeed's schema.
func Empty(t testing.TB) string {
	t.Helper()
	return server(t).create(t, "template0", "")
}

// Server starts a separate server for a test that restarts or kills it. Unless cfg
// names a Dir it is temporary. Unlike devpg's temporary servers it commits
// synchronously, so that an immediate stop loses no commit.
func Server(t testing.TB, cfg devpg.Config) *devpg.Server {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Temporary, cfg.Parent = true, place()
	}
	settings := map[string]string{"synchronous_commit": "on"}
	maps.Copy(settings, cfg.Settings)
	cfg.Settings = settings
	s, err := devpg.Start(t.Context(), cfg)
	if err != nil {
		t.Fatalf("pgtest: start a server: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("pgtest: stop the server: %v", err)
		}
	})
	return s
}

// Connect returns a connection that is closed when the test ends.
func Connect(t testing.TB, databaseURL string) *pgx.Conn {
	t.Helper()
	conn, err := Dial(t.Context(), databaseURL)
	if err != nil {
		t.Fatalf("pgtest: connect: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
		defer cancel()
		_ = conn.Close(ctx) // the test may have stopped the server
	})
	return conn
}

// Exec runs SQL on a new connection. Without args it may be several statements.
func Exec(t testing.TB, databaseURL, sql string, args ...any) {
	t.Helper()
	if err := exec(t.Context(), databaseURL, sql, args...); err != nil {
		t.Fatalf("pgtest: %.200s: %v", sql, err)
	}
}

// Dial is Connect for a connection that the caller closes.
func Dial(ctx context.Context, databaseURL string) (*pgx.Conn, error) {
	cfg, err := Config(databaseURL)
	if err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(ctx, cfg)
}

func exec(ctx context.Context, databaseURL, sql string, args ...any) error {
	conn, err := Dial(ctx, databaseURL)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql, args...)
	return errors.Join(err, conn.Close(ctx))
}

// harness is a server on which databases are created.
type harness struct {
	inMain atomic.Bool

	start    sync.Once
	startErr error
	own      *devpg.Server // nil when it is TEST_DATABASE_URL's
	adminURL *url.URL
	admin    adminSession
	prefix   string // of the names of databases; unique to this process
	count    atomic.Int64
	strategy string // how a database is copied

	migrate    sync.Once
	migrateErr error
	template   string
}

// server returns the shared harness, started.
func server(t testing.TB) *harness {
	t.Helper()
	if !shared.inMain.Load() {
		t.Fatal("pgtest: the package needs func TestMain(m *testing.M) { pgtest.Main(m) }")
	}
	shared.start.Do(func() { shared.startErr = shared.open(os.Getenv("TEST_DATABASE_URL")) })
	if shared.startErr != nil {
		t.Fatalf("pgtest: start the server: %v", shared.startErr)
	}
	return &shared
}

// open starts a server unless it gets the URL of one.
func (h *harness) open(external string) error {
	h.prefix = "taskfeed_test_" + strings.ToLower(rand.Text()[:12])
	admin := external
	if external == "" {
		own, err := devpg.Start(context.Background(), devpg.Config{Temporary: true, Parent: place(), Progress: progress})
		if err != nil {
			return err
		}
		h.own, admin = own, own.URL("postgres")
	}
	u, err := url.Parse(admin)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" { // err would contain the password
		return errors.New("TEST_DATABASE_URL is not a URL like postgres://user:password@host/postgres")
	}
	h.adminURL, h.admin.url = u, u.String()
	return h.chooseStrategy(context.Background())
}

const sqlFileCopy = `
SELECT current_setting('server_version_num')::int >= 150000`

// chooseStrategy makes Postgres copy databases file by file. By default, Postgres 15
// and newer write each page of a copy to the write-ahead log, which avoids a checkpoint
// but takes several times as much processor time. A checkpoint is cheap on a server
// that does not wait for its disk.
func (h *harness) chooseStrategy(ctx context.Context) error {
	if h.own == nil {
		return nil // a given server keeps its default
	}
	var known bool // older versions have only this way
	err := h.admin.do(ctx, func(conn *pgx.Conn) error { return conn.QueryRow(ctx, sqlFileCopy).Scan(&known) })
	if known {
		h.strategy = " STRATEGY file_copy"
	}
	return err
}

func progress(message string) { fmt.Fprintln(os.Stderr, "pgtest:", message) }

// newTemplate creates the database that New copies. One test creates it for all, so it
// must not be cancelled when that test ends: it removes the cancellation from ctx.
func (h *harness) newTemplate(ctx context.Context) (string, error) {
	ctx = context.WithoutCancel(ctx)
	name := h.prefix + "_template"
	if err := h.admin.exec(ctx, "CREATE DATABASE "+name+" TEMPLATE template0"+h.strategy); err != nil {
		return "", err
	}
	if err := migrations.Up(ctx, h.url(name)); err != nil || !everywhere() {
		return name, err
	}
	return name, makeAllHostile(ctx, h.url(name))
}

// create creates a database for a test; kind becomes part of its name.
func (h *harness) create(t testing.TB, template, kind string) string {
	t.Helper()
	name := fmt.Sprintf("%s%s_%d", h.prefix, kind, h.count.Add(1))
	if err := h.admin.exec(t.Context(), "CREATE DATABASE "+name+" TEMPLATE "+template+h.strategy); err != nil {
		t.Fatalf("pgtest: create a database: %v", err)
	}
	t.Cleanup(func() {
		if err := h.drop(name); err != nil {
			t.Errorf("pgtest: drop the database: %v", err)
		}
	})
	return h.url(name)
}

func (h *harness) drop(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	return h.admin.exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
}

func (h *harness) url(database string) string {
	u := *h.adminURL
	u.Path = "/" + database
	return u.String()
}

// close stops the server, or drops the template from a given server.
func (h *harness) close() error {
	var err error
	if h.own == nil && h.template != "" {
		err = h.drop(h.template)
	}
	err = errors.Join(err, h.admin.close())
	if h.own != nil {
		err = errors.Join(err, h.own.Stop())
	}
	return err
}
