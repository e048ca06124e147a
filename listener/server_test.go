package listener_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	osexec "os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/devpg"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/listener"
	"github.com/taskfeed/taskfeed/migrations"
	"github.com/taskfeed/taskfeed/store"
)

// child is a server in its own process.
type child struct {
	cmd *osexec.Cmd
	end func()

	mu    sync.Mutex
	lines []string
}

// startChild starts a server in another process and kills it when the test ends.
func startChild(t *testing.T, url string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatalf("find the test binary: %v", err)
	}
	c := &child{cmd: osexec.Command(exe)}
	c.cmd.Env = append(os.Environ(), childURL+"="+url)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("pipe: %v", err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatalf("start a child: %v", err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			c.mu.Lock()
			c.lines = append(c.lines, scanner.Text())
			c.mu.Unlock()
		}
	})
	c.end = sync.OnceFunc(func() {
		_ = c.cmd.Process.Kill() // SIGKILL also ends a stopped process
		reading.Wait()
		_ = c.cmd.Wait() // always reports the kill
	})
	t.Cleanup(c.end)
	return c
}

func (c *child) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		t.Fatalf("send %v: %v", s, err)
	}
}

// published returns the ids of the events that the child printed.
func (c *child) published(t *testing.T) []taskfeed.Cursor {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []taskfeed.Cursor
	for _, line := range c.lines {
		text, ok := strings.CutPrefix(line, "event ")
		if !ok {
			continue
		}
		id, err := taskfeed.ParseCursor(text)
		if err != nil {
			t.Fatalf("the child printed %q: %v", line, err)
		}
		ids = append(ids, id)
	}
	return ids
}

// started reports whether the child knows where the log ends.
func (c *child) started() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.lines, func(l string) bool { return strings.HasPrefix(l, "head ") })
}

// The leader's process is killed, or stopped and continued later, while there are
// changes to move.
func TestLeaderProcess(t *testing.T) {
	t.Parallel()
	setup := func(t *testing.T) (leader *child, follower *server, app *pgx.Conn) {
		url := pgtest.New(t)
		leader = startChild(t, url)
		eventually(t, "the child's start", leader.started)
		follower = start(t, store.Config{URL: url, StallTimeout: stall}, listener.Config{}, nil)
		follower.follows(t)
		return leader, follower, pgtest.Connect(t, url)
	}
	work := func(t *testing.T, app *pgx.Conn, n int) {
		for i := range n {
			add(t, app, 1)
			if i%10 == 0 {
				exec(t, app, "INSERT INTO taskfeed.tasks (user_id) SELECT 'alice' FROM generate_series(1, 1500)")
			}
		}
	}

	t.Run("killed", func(t *testing.T) {
		t.Parallel()
		leader, follower, app := setup(t)
		work(t, app, 20)
		leader.end()
		work(t, app, 20)
		publishesLog(t, app, 6040, follower)
		if !follower.Stats().Leader {
			t.Error("the other server does not lead")
		}
	})

	t.Run("stopped and continued", func(t *testing.T) {
		t.Parallel()
		leader, follower, app := setup(t)
		work(t, app, 20)
		leader.signal(t, syscall.SIGSTOP)
		work(t, app, 20)
		follower.leads(t)
		publishesLog(t, app, 6040, follower)
		leader.signal(t, syscall.SIGCONT)
		work(t, app, 1)
		publishesLog(t, app, 7541, follower)
		eventually(t, "the rest from the server that was stopped", func() bool { return len(leader.published(t)) >= 7541 })
		if got, want := leader.published(t), log(t, app); !slices.Equal(got, want) {
			t.Errorf("the server that was stopped published %d events, want the log's %d, each once and in order", len(got), len(want))
		}
	})
}

// migrated creates and migrates a database on the server and returns its URL.
func migrated(t *testing.T, server *devpg.Server) string {
	t.Helper()
	pgtest.Exec(t, server.URL("postgres"), "CREATE DATABASE app")
	url := server.URL("app")
	if err := migrations.Up(t.Context(), url); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	return url
}

// Postgres restarts under two servers, in order and by force, and becomes read-only
// for a while. Every committed change is published once.
func TestPostgresRestarts(t *testing.T) {
	t.Parallel()
	pg := pgtest.Server(t, devpg.Config{})
	url := migrated(t, pg)
	a := start(t, store.Config{URL: url}, listener.Config{}, nil)
	b := start(t, store.Config{URL: url}, listener.Config{}, nil)
	eventually(t, "a leader and a follower", func() bool { // a server that starts later would publish from a later head
		return a.Stats().Leader != b.Stats().Leader && a.Ready() == nil && b.Ready() == nil
	})
	app := pgtest.Connect(t, url)
	total := 0
	for _, mode := range []devpg.Mode{devpg.Fast, devpg.Immediate} {
		for range 2 {
			add(t, app, 10)
			if err := pg.Restart(context.WithoutCancel(t.Context()), mode); err != nil {
				t.Fatalf("restart: %v", err)
			}
			app = pgtest.Connect(t, url)
			add(t, app, 10)
			total += 20
			publishesLog(t, app, total, a, b)
		}
	}

	leader := a
	if b.Stats().Leader {
		leader = b
	}
	setReadOnly(t, app, "on")
	eventually(t, "the reason", func() bool {
		err := leader.Ready()
		return err != nil && strings.Contains(err.Error(), "read-only")
	})
	if !leader.Stats().Leader {
		t.Error("the leader stopped leading while the database was read-only, want it to stay")
	}
	exec(t, app, "SET default_transaction_read_only = off") // this session may still write
	add(t, app, 1)
	setReadOnly(t, app, "off")
	publishesLog(t, app, total+1, a, b)
	eventually(t, "readiness", func() bool { return a.Ready() == nil && b.Ready() == nil })
}

func setReadOnly(t *testing.T, conn *pgx.Conn, value string) {
	t.Helper()
	exec(t, conn, fmt.Sprintf("ALTER SYSTEM SET default_transaction_read_only = %s", value))
	exec(t, conn, "SELECT pg_reload_conf()")
}
