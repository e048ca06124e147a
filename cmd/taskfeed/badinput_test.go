package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// Bad input that takes the whole program to test. docs/BAD-INPUT.md has the list.

func TestBadInput2LargeResult(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.New(t)
	s := startServing(t, dbURL)
	conn := dialPlain(t, s, "alice")
	pgtest.Exec(t, dbURL, `INSERT INTO taskfeed.tasks (id, user_id, status, result) VALUES ('large', 'alice', 'completed', to_jsonb(repeat('x', 1000000)))`)
	frame := nextFrame(t, conn)
	if got, want := string(frame.Event.Data), `{"progress":0,"result":null,"truncated":["result"]}`; frame.Type != taskfeed.TypeTaskCompleted || got != want {
		t.Errorf("frame: got %s %s, want task_completed %s", frame.Type, got, want)
	}
	for _, path := range []string{"/v1/tasks/large", "/v1/me/tasks/large"} {
		var whole struct{ Result string }
		if apiOf(t, s, "alice", "admin").get(path, &whole); whole.Result != strings.Repeat("x", 1_000_000) {
			t.Errorf("%s: got a result of %d bytes, want all 1,000,000", path, len(whole.Result))
		}
	}
}

func TestBadInput10Doctor(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.New(t)
	s := startServing(t, dbURL)
	ready := func() (status int, body string) { return get(t, s.base+"/readyz?verbose") }
	env := []string{"DATABASE_URL=" + dbURL}

	if got, stdout, stderr := try(t, env, "doctor"); got != 0 || !strings.HasPrefix(stdout, "ok: ") {
		t.Errorf("doctor of a fresh database: got status %d, stdout %q, stderr %q, want 0 and that all is well", got, stdout, stderr)
	}
	for _, c := range []struct{ name, do, undo, want string }{
		{"disabled", `ALTER TABLE taskfeed.tasks DISABLE TRIGGER aa_taskfeed_capture_insert`, `ALTER TABLE taskfeed.tasks ENABLE TRIGGER aa_taskfeed_capture_insert`, "DISABLED"},
		{"dropped", `ALTER TRIGGER aa_taskfeed_capture_insert ON taskfeed.tasks RENAME TO gone; ALTER TABLE taskfeed.tasks DISABLE TRIGGER gone`,
			`ALTER TRIGGER gone ON taskfeed.tasks RENAME TO aa_taskfeed_capture_insert; ALTER TABLE taskfeed.tasks ENABLE TRIGGER aa_taskfeed_capture_insert`, "is missing"},
	} {
		exec := func(sql string) {
			for statement := range strings.SplitSeq(sql, "; ") {
				pgtest.Exec(t, dbURL, statement)
			}
		}
		exec(c.do)
		eventually(t, "a trigger that is "+c.name+" shows at /readyz?verbose", 10*time.Second, func() bool {
			status, body := ready()
			return status == http.StatusServiceUnavailable && strings.Contains(body, `"name":"capture","ok":false,"detail":"a trigger of taskfeed.tasks is disabled, missing`)
		})
		got, stdout, stderr := try(t, env, "doctor")
		if want := "problem: trigger aa_taskfeed_capture_insert of table tasks"; got != 1 || !strings.HasPrefix(stdout, want) || !strings.Contains(stdout, c.want) {
			t.Errorf("doctor, %s: got status %d, stdout %q, want 1 and %q with %q", c.name, got, stdout, want, c.want)
		}
		if want := "problems found: 1"; !strings.Contains(stderr, want) {
			t.Errorf("doctor, %s: got stderr %q, want %q", c.name, stderr, want)
		}
		exec(c.undo)
		eventually(t, "the server is ready again", 10*time.Second, func() bool { status, _ := ready(); return status == http.StatusOK })
	}
}

// cleanUp runs a statement after the test, when its context has ended.
func cleanUp(t *testing.T, dbURL, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := pgtest.Dial(ctx, dbURL)
	if err != nil {
		t.Errorf("connect to clean up: %v", err)
		return
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Errorf("%s: %v", sql, err)
	}
}

// stranger creates a role that may only connect, and returns its URL.
func stranger(t *testing.T, dbURL, name string) string {
	t.Helper()
	role := fmt.Sprintf(`"%s %d"`, name, os.Getpid())
	pgtest.Exec(t, dbURL, `CREATE ROLE `+role+` LOGIN PASSWORD 'hunter2'`)
	t.Cleanup(func() { cleanUp(t, dbURL, `DROP ROLE `+role) })
	u, err := url.Parse(dbURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(strings.Trim(role, `"`), "hunter2")
	return u.String()
}

func TestBadInput13RoleWithoutRights(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.New(t)
	env := []string{"DATABASE_URL=" + stranger(t, dbURL, "bad input 13"), "TASKFEED_JWT_SECRET=" + testSecret, "PORT=0"}
	for _, command := range []string{"serve", "migrate up", "migrate status", "doctor"} {
		status, stdout, stderr := try(t, env, strings.Fields(command)...)
		if status != 1 || !strings.Contains(stdout+stderr, "or run GRANT ") || strings.Contains(stderr, "hunter2") || strings.Contains(stderr, "waiting") {
			t.Errorf("%s: got status %d, %q, %q, want 1 at once and the GRANT to run", command, status, stdout, stderr)
		}
	}
	got := start(t, append(env[1:], "DATABASE_URL="+env[0][len("DATABASE_URL="):]), "serve")
	if status := got.wait(t, 20*time.Second); status != 1 {
		t.Errorf("serve as a process: got status %d, want 1", status)
	}
}

func TestBadInput64UnknownVariables(t *testing.T) {
	t.Parallel()
	busy := listenSomewhere(t) // so that serve ends
	env := []string{"DATABASE_URL=" + pgtest.New(t), "TASKFEED_JWT_SECRET=" + testSecret, "TASKFEED_ADDR=127.0.0.1", "PORT=" + busy,
		"TASKFEED_RETANTION=1h", "TASKFEED_LOG_FORMAT=json"}
	_, _, stderr := try(t, env, "serve")
	if want := `"msg":"unknown setting ignored","name":"TASKFEED_RETANTION"`; !strings.Contains(stderr, want) {
		t.Errorf("stderr: got %q, want %s", stderr, want)
	}
}

func TestBadInput67Numbers(t *testing.T) {
	t.Parallel()
	env := []string{"DATABASE_URL=postgres://app:hunter2@127.0.0.1:1/x", "TASKFEED_JWT_SECRET=" + testSecret}
	for name, want := range map[string]string{
		"TASKFEED_DB_MAX_CONNS=1":      "from 4 up",
		"TASKFEED_STALL_TIMEOUT=1s":    "at least 3s",
		"TASKFEED_MAX_MESSAGE_BYTES=1": "from 128 up",
		"TASKFEED_PONG_TIMEOUT=1ms":    "at least 1s",
		"TASKFEED_HTTP_IDLE_TIMEOUT=0": "at least 1s",
	} {
		if status, _, stderr := try(t, append(env, name), "serve"); status != 2 || !strings.Contains(stderr, want) {
			t.Errorf("%s: got status %d, stderr %q, want 2 and %q", name, status, stderr, want)
		}
	}
	for _, c := range []struct {
		env  []string
		want []string // what the lines hold, in order
	}{
		{nil, nil},
		{[]string{"TASKFEED_PING_INTERVAL=55s", "TASKFEED_COMMENT_INTERVAL=55s", "TASKFEED_DRAIN=20s", "TASKFEED_DRAIN_DELAY=5s"}, nil},
		{[]string{"TASKFEED_PING_INTERVAL=60s"}, []string{"PING_INTERVAL is 1m0s"}},
		{[]string{"TASKFEED_PING_INTERVAL=off"}, []string{"PING_INTERVAL is off"}},
		{[]string{"TASKFEED_COMMENT_INTERVAL=2m"}, []string{"COMMENT_INTERVAL is 2m0s"}},
		{[]string{"TASKFEED_DRAIN=20s", "TASKFEED_DRAIN_DELAY=6s"}, []string{"may take 31s (TASKFEED_DRAIN_DELAY 6s, TASKFEED_DRAIN 20s and 5s to close)"}},
		{[]string{"TASKFEED_ALLOWED_ORIGINS=null,https://app.example"}, []string{"TASKFEED_ALLOWED_ORIGINS: null is allowed"}},
		{[]string{"TASKFEED_DRAIN=1m", "TASKFEED_PING_INTERVAL=1h"}, []string{"PING_INTERVAL is 1h", "may take 1m5s"}},
	} {
		var cfg config
		in := cli.Invocation{Environ: append(env, c.env...)}
		if err := newSettings(cfg.serveSettings()).read(in.Env); err != nil {
			t.Fatalf("%v: %v", c.env, err)
		}
		if got := cfg.warnings(); !slices.EqualFunc(got, c.want, strings.Contains) {
			t.Errorf("%v: got warnings %q, want %q", c.env, got, c.want)
		}
	}
}

// No notification arrives through a transaction pooler.
func TestBadInput69Pooler(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	env := []string{"DATABASE_URL=" + url, "TASKFEED_LISTEN_DATABASE_URL=" + pgtest.Through(t, url, pgtest.WithoutNotifications)}
	const want = "set TASKFEED_LISTEN_DATABASE_URL to a direct one"
	if status, stdout, _ := try(t, env, "doctor"); status != 1 || !strings.HasPrefix(stdout, "problem: LISTEN does not work") || !strings.Contains(stdout, want) {
		t.Errorf("doctor: got status %d, stdout %q, want 1 and %q", status, stdout, want)
	}
	s := startServing(t, env[0][len("DATABASE_URL="):], env[1])
	eventually(t, "the log says what to do", 20*time.Second, func() bool {
		log := s.stderr.String()
		return strings.Contains(log, "notifications do not arrive") && strings.Contains(log, want)
	})
}

// listenSomewhere returns a port that is in use until the test ends.
func listenSomewhere(t *testing.T) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	t.Cleanup(func() { l.Close() })
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port
}

func TestBadInput70CannotStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	noKey := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(noKey, []byte("not a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	secret, database := "TASKFEED_JWT_SECRET="+testSecret, "DATABASE_URL="+pgtest.New(t)
	for name, c := range map[string]struct {
		env    []string
		status int
		want   string
	}{
		"a port that is taken":           {[]string{database, secret, "TASKFEED_ADDR=127.0.0.1", "PORT=" + listenSomewhere(t)}, 1, "address already in use"},
		"an address of another":          {[]string{database, secret, "TASKFEED_ADDR=192.0.2.1"}, 1, "cannot assign requested address"},
		"a value in a file that is none": {[]string{database, secret, "TASKFEED_JWT_ISSUER_FILE=" + filepath.Join(dir, "none")}, 2, "TASKFEED_JWT_ISSUER_FILE: the file cannot be read"},
		"a value in a directory":         {[]string{database, secret, "TASKFEED_JWT_ISSUER_FILE=" + dir}, 2, "TASKFEED_JWT_ISSUER_FILE: the file cannot be read"},
		"a key file that is none":        {[]string{database, "TASKFEED_JWT_PUBLIC_KEY_FILE=" + filepath.Join(dir, "none")}, 2, "none"},
		"a key file without a key":       {[]string{database, "TASKFEED_JWT_PUBLIC_KEY_FILE=" + noKey}, 2, "key.pem"},
	} {
		t.Run("bad input 70: "+name, func(t *testing.T) {
			t.Parallel()
			status, _, stderr := try(t, append(c.env, "TASKFEED_LOG_LEVEL=error"), "serve")
			if status != c.status || !strings.HasPrefix(stderr, "taskfeed: ") || !strings.Contains(stderr, c.want) {
				t.Errorf("got status %d, stderr %q, want %d and %q", status, stderr, c.status, c.want)
			}
			if got := strings.Count(stderr, "\n"); got != 1 {
				t.Errorf("got %d lines: %q, want 1", got, stderr)
			}
		})
	}
}

// The names of the schema are fixed; those of databases, roles and the app's tables are
// not.
func TestBadInput75OddNames(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.Empty(t)
	for _, name := range []string{`Select "up" 'n' ünï💚 100% ?&=#/`, strings.Repeat("n", 48)} {
		name := fmt.Sprintf("%s %d", name, os.Getpid())
		quoted := `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
		pgtest.Exec(t, dbURL, "CREATE DATABASE "+quoted)
		t.Cleanup(func() { cleanUp(t, dbURL, "DROP DATABASE "+quoted+" WITH (FORCE)") })
		u, err := url.Parse(dbURL)
		if err != nil {
			t.Fatal(err)
		}
		u.Path, u.RawPath = "/"+name, ""
		s := startServing(t, u.String())
		conn := dialPlain(t, s, "alice")
		pgtest.Exec(t, u.String(), `INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice')`)
		if f := nextFrame(t, conn); f.Event.TaskID != "t" {
			t.Errorf("database %q: got an event of task %q, want t", name, f.Event.TaskID)
		}
		if status, stdout, stderr := try(t, []string{"DATABASE_URL=" + u.String()}, "doctor"); status != 0 {
			t.Errorf("database %q: got status %d, %q, %q, want 0", name, status, stdout, stderr)
		}
		_ = conn.WriteControl(websocket.CloseMessage, nil, time.Now().Add(time.Second)) // the server ends with the test
	}
}
