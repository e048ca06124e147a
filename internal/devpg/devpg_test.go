package devpg_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/internal/devpg"
	"github.com/taskfeed/taskfeed/lab/leaktest"
)

// childEnv makes the test binary the owner of a server, for tests that kill it. Its
// value is the state directory, or "temporary".
const childEnv = "DEVPG_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		runChild(dir)
	}
	leaktest.Main(runner{m})
}

// runner removes what tests share, at the end.
type runner struct{ m *testing.M }

func (r runner) Run() int {
	status := r.m.Run()
	if dir, err := fresh(); err == nil {
		if err := os.RemoveAll(filepath.Dir(dir)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return max(status, 1)
		}
	}
	return status
}

// fresh creates a state directory with a new cluster, once. Tests copy it, which is ten
// times faster than another initdb.
var fresh = sync.OnceValues(func() (string, error) {
	parent, err := os.MkdirTemp(memory(), "devpg-test-")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(parent, "state")
	if err := os.Chmod(parent, 0o755); err != nil {
		return dir, err
	}
	s, err := devpg.Start(context.Background(), keeping(dir))
	if err != nil {
		return dir, err
	}
	return dir, s.Stop()
})

// ready is what a child prints when its server is running.
type ready struct {
	URL     string
	DataDir string
}

// runChild owns a server until it is killed or its standard input ends.
func runChild(dir string) {
	cfg := keeping(dir)
	if dir == "temporary" {
		cfg = devpg.Config{Temporary: true}
	}
	s, err := devpg.Start(context.Background(), cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	err = json.NewEncoder(os.Stdout).Encode(ready{s.URL("postgres"), s.DataDir()})
	if err != nil {
		os.Exit(1)
	}
	_, err = io.Copy(io.Discard, os.Stdin) // until the test is over, or a kill
	if err := errors.Join(err, s.Stop()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// startChild starts an owner in another process. kill is kill -9.
func startChild(t *testing.T, dir string) (r ready, pid int, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var killed bool
	kill = func() {
		killed = true
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // says that it was killed
	}
	t.Cleanup(func() {
		if killed {
			return
		}
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			t.Errorf("end the child: %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the child did not start its server: %v", err)
	}
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatal(err)
	}
	return r, cmd.Process.Pid, kill
}

// memory returns a directory in memory if one has room for some clusters: disks are
// slow at creating and removing their thousands of files. Otherwise it returns "",
// which means the default place.
func memory() string {
	const dir, room = "/dev/shm", 1 << 30
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil || s.Bavail*uint64(s.Bsize) < room {
		return ""
	}
	return dir
}

// newDir returns the path of a state directory that does not exist yet. The user that
// Postgres runs as can reach it, unlike t.TempDir().
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(memory(), "devpg-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "state")
}

// freshDir returns a state directory with a new cluster in it.
func freshDir(t *testing.T) string {
	t.Helper()
	model, err := fresh()
	if err != nil {
		t.Fatal(err)
	}
	dir := newDir(t)
	if out, err := exec.CommandContext(t.Context(), "cp", "-Rp", model, dir).CombinedOutput(); err != nil {
		t.Fatalf("copy a state directory: %v\n%s", err, out)
	}
	return dir
}

// keeping configures a server that keeps its data and does not wait for the disk.
func keeping(dir string) devpg.Config {
	return devpg.Config{Dir: dir, Settings: map[string]string{"fsync": "off"}}
}

// start starts a server that is stopped at the end of the test.
func start(t *testing.T, cfg devpg.Config) *devpg.Server {
	t.Helper()
	s, err := devpg.Start(t.Context(), cfg)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *devpg.Server) {
	t.Helper()
	if err := s.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// query runs SQL and returns the first column of the first row as text.
func query(t *testing.T, url, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var got string
	if err := conn.QueryRow(t.Context(), sql).Scan(&got); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}

// refused reports whether nothing listens on the server's port.
func refused(t *testing.T, port int) bool {
	t.Helper()
	conn, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), 5*time.Second)
	if err != nil {
		return errors.Is(err, syscall.ECONNREFUSED)
	}
	return conn.Close() != nil
}

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestTemporaryServer(t *testing.T) {
	t.Parallel()
	s := start(t, devpg.Config{Temporary: true, Settings: map[string]string{"max_connections": "50"}})
	dir := filepath.Dir(s.DataDir())

	for setting, want := range map[string]string{
		"listen_addresses":          "127.0.0.1",
		"port":                      strconv.Itoa(s.Port()),
		"data_directory":            s.DataDir(),
		"fsync":                     "off",
		"wal_level":                 "logical",
		"max_prepared_transactions": "10",
		"max_connections":           "50",
		"server_encoding":           "UTF8",
		"TimeZone":                  "UTC",
	} {
		if got := query(t, s.URL("postgres"), "show "+setting); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	if got := query(t, s.URL("postgres"), "show server_version"); !strings.HasPrefix(got, s.Version()) {
		t.Errorf("Version() is %q, but the server says %q", s.Version(), got)
	}
	if isClosed(s.Done()) {
		t.Error("Done is closed while the server runs")
	}
	checkSecrets(t, s)

	stop(t, s)
	if !isClosed(s.Done()) {
		t.Error("Done is open after Stop")
	}
	if exists(dir) {
		t.Errorf("%s is still there after Stop", dir)
	}
	if !refused(t, s.Port()) {
		t.Errorf("something answers on port %d after Stop", s.Port())
	}
	if err := s.Restart(t.Context(), devpg.Fast); err == nil {
		t.Error("Restart after Stop: no error")
	}
	stop(t, s) // twice is fine
}

// checkSecrets checks that no other user can reach a server's data.
func checkSecrets(t *testing.T, s *devpg.Server) {
	t.Helper()
	u, err := url.Parse(s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("postgres", "guess")
	if conn, err := pgx.Connect(t.Context(), u.String()); err == nil {
		t.Errorf("connected with a wrong password: %v", conn.Close(t.Context()))
	}
	for path, want := range map[string]os.FileMode{
		"password": 0o600, "owner.json": 0o600, "server.log": 0o600, "data": 0o700, "run": 0o700,
	} {
		info, err := os.Stat(filepath.Join(filepath.Dir(s.DataDir()), path))
		if err != nil {
			t.Error(err)
		} else if got := info.Mode().Perm(); got != want {
			t.Errorf("mode of %s is %o, want %o", path, got, want)
		}
	}
}

func TestDataIsKept(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	s := start(t, devpg.Config{Dir: dir})
	if got := query(t, s.URL("postgres"), "show fsync"); got != "on" {
		t.Errorf("fsync is %q for a server that keeps its data, want on", got)
	}
	query(t, s.URL("postgres"), "create table kept as select 42 as n")
	stop(t, s)
	if exists(filepath.Join(dir, "owner.json")) {
		t.Error("owner.json is still there after Stop")
	}

	again := start(t, devpg.Config{Dir: dir, Port: s.Port()})
	if got, want := again.URL("postgres"), s.URL("postgres"); got != want {
		t.Errorf("URL after a restart is %q, want the same as before, %q", got, want)
	}
	if got := query(t, again.URL("postgres"), "select n::text from kept"); got != "42" {
		t.Errorf("read %q, want 42", got)
	}
}

func TestRestart(t *testing.T) {
	t.Parallel()
	s := start(t, keeping(freshDir(t)))
	query(t, s.URL("postgres"), "create table kept as select 42 as n")
	for _, mode := range []devpg.Mode{devpg.Fast, devpg.Immediate} {
		before, port, done := s.PID(), s.Port(), s.Done()
		if err := s.Restart(t.Context(), mode); err != nil {
			t.Fatalf("%s restart: %v", mode, err)
		}
		if s.PID() == before || s.Port() != port {
			t.Errorf("%s restart: process %d on port %d, want another process than %d on port %d", mode, s.PID(), s.Port(), before, port)
		}
		if !isClosed(done) || isClosed(s.Done()) {
			t.Errorf("%s restart: Done of the old and new run closed: %t %t, want true false", mode, isClosed(done), isClosed(s.Done()))
		}
		if got := query(t, s.URL("postgres"), "select n::text from kept"); got != "42" {
			t.Errorf("%s restart: read %q, want 42", mode, got)
		}
	}

	if err := s.StopMode(devpg.Immediate); err != nil {
		t.Fatal(err)
	}
	if !refused(t, s.Port()) {
		t.Error("the server answers after StopMode")
	}
	if err := s.Restart(t.Context(), devpg.Fast); err != nil {
		t.Fatal(err)
	}
	if got := query(t, s.URL("postgres"), "select n::text from kept"); got != "42" {
		t.Errorf("after StopMode and Restart: read %q, want 42", got)
	}
}

func TestPostgresIsKilled(t *testing.T) {
	t.Parallel()
	dir := freshDir(t)
	s := start(t, keeping(dir))
	query(t, s.URL("postgres"), "create table kept as select 42 as n")
	kill := func(s *devpg.Server) {
		if err := syscall.Kill(s.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-s.Done()
	}
	check := func(how string, s *devpg.Server) {
		if got := query(t, s.URL("postgres"), "select n::text from kept"); got != "42" {
			t.Errorf("%s: read %q, want 42", how, got)
		}
	}

	kill(s)
	if err := s.Restart(t.Context(), devpg.Fast); err != nil {
		t.Fatalf("restart after a kill: %v", err)
	}
	check("after Restart", s)

	kill(s)
	stop(t, s)
	check("after a new Start", start(t, keeping(dir)))
}

func TestTakenPort(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	cfg := keeping(freshDir(t))
	cfg.Port = taken
	s := start(t, cfg)
	if s.Port() == taken {
		t.Errorf("Port() is %d, which another program has", taken)
	}
	query(t, s.URL("postgres"), "select 'it answers'")
}

// A Unix socket's path must be short; a state directory's may be long.
func TestSocketOnlyInLongPath(t *testing.T) {
	t.Parallel()
	cfg := keeping(filepath.Join(newDir(t), strings.Repeat("long ", 20), "Zürich, \"HB\""))
	cfg.SocketOnly = true
	s := start(t, cfg)
	if got := query(t, s.URL("postgres"), "show listen_addresses"); got != "" {
		t.Errorf("listen_addresses is %q, want none", got)
	}
	if !refused(t, s.Port()) {
		t.Errorf("something answers on TCP port %d", s.Port())
	}
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	t.Run("the error carries the log", func(t *testing.T) {
		t.Parallel()
		dir := freshDir(t)
		_, err := devpg.Start(t.Context(), devpg.Config{Dir: dir, Settings: map[string]string{"shared_buffers": "a lot"}})
		if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "shared_buffers"`) {
			t.Errorf("error %v, want what Postgres logged", err)
		}
		start(t, keeping(dir)) // the directory was given up
	})
	t.Run("the caller gives up", func(t *testing.T) {
		t.Parallel()
		reason := errors.New("changed my mind")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(reason)
		if _, err := devpg.Start(ctx, devpg.Config{Temporary: true}); !errors.Is(err, reason) {
			t.Errorf("error %v, want %v", err, reason)
		}
	})
	t.Run("no time", func(t *testing.T) {
		t.Parallel()
		_, err := devpg.Start(t.Context(), devpg.Config{Dir: freshDir(t), StartTimeout: time.Nanosecond})
		if err == nil || !strings.Contains(err.Error(), "not ready after 1ns") {
			t.Errorf("error %v, want that it was not ready in time", err)
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]devpg.Config{
		"Dir":           {Temporary: true, Dir: "/somewhere"},
		"Port":          {Temporary: true, Port: 65536},
		"StartTimeout":  {Temporary: true, StartTimeout: -1},
		"StopTimeout":   {Temporary: true, StopTimeout: -1},
		"fsync=off;":    {Temporary: true, Settings: map[string]string{"fsync=off;": ""}},
		"port cannot":   {Temporary: true, Settings: map[string]string{"port": "1"}},
		"Shared_Memory": {Temporary: true, Settings: map[string]string{"Shared_Memory": "1"}},
	} {
		_, err := devpg.Start(t.Context(), cfg)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v, want one that names it", name, err)
		}
	}
}
