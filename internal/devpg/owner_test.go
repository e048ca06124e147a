package devpg_test

import (
	"errors"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/internal/devpg"
)

func TestSecondOwner(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		own  func(t *testing.T, dir string) (pid int, url string)
	}{
		{"this process", func(t *testing.T, dir string) (int, string) {
			return os.Getpid(), start(t, keeping(dir)).URL("postgres")
		}},
		{"another process", func(t *testing.T, dir string) (int, string) {
			child, pid, _ := startChild(t, dir)
			return pid, child.URL
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := freshDir(t)
			pid, firstURL := tt.own(t, dir)

			_, startErr := devpg.Start(t.Context(), keeping(dir))
			for what, err := range map[string]error{"Start": startErr, "Reset": devpg.Reset(dir)} {
				inUse, ok := errors.AsType[*devpg.InUseError](err)
				if !ok {
					t.Fatalf("%s returned %v, want an InUseError", what, err)
				}
				if inUse.PID != pid || inUse.URL != firstURL || inUse.Dir != dir {
					t.Errorf("%s: owner %d, %s, %s; want %d, %s, %s", what, inUse.PID, inUse.URL, inUse.Dir, pid, firstURL, dir)
				}
				u, err := url.Parse(firstURL)
				if err != nil {
					t.Fatal(err)
				}
				text := inUse.Error()
				for _, want := range []string{strconv.Itoa(pid), u.Host, dir} {
					if !strings.Contains(text, want) {
						t.Errorf("%s: the message %q does not say %s", what, text, want)
					}
				}
				if password, _ := u.User.Password(); strings.Contains(text, password) {
					t.Errorf("%s: the message shows the password", what)
				}
			}
			query(t, firstURL, "select 'the first one still runs'")
		})
	}
}

// A kill -9 of "taskfeed dev" leaves nothing that prevents the next start.
func TestOwnerIsKilled(t *testing.T) {
	t.Parallel()
	t.Run("its data is kept", func(t *testing.T) {
		t.Parallel()
		dir := freshDir(t)
		child, _, kill := startChild(t, dir)
		query(t, child.URL, "create table kept as select 42 as n")
		kill()
		if runtime.GOOS == "linux" {
			awaitEnd(t, child.URL)
		}
		s := start(t, keeping(dir))
		if got := query(t, s.URL("postgres"), "select n::text from kept"); got != "42" {
			t.Errorf("read %q, want 42", got)
		}
	})
	t.Run("its temporary directory is swept", func(t *testing.T) {
		t.Parallel()
		living, _, _ := startChild(t, "temporary")
		dead, _, kill := startChild(t, "temporary")
		kill()
		start(t, devpg.Config{Temporary: true})
		if dir := filepath.Dir(dead.DataDir); exists(dir) {
			t.Errorf("%s is still there though its owner is dead", dir)
		}
		query(t, living.URL, "select 'the other one still runs'")
	})
}

// Systems other than Linux do not end Postgres with its owner.
func TestOrphanIsEnded(t *testing.T) {
	t.Parallel()
	dir := freshDir(t)
	s := start(t, keeping(dir))
	query(t, s.URL("postgres"), "create table kept as select 42 as n")
	stop(t, s)

	orphan := run(t, s, filepath.Join(s.BinDir(), "postgres"), "-D", s.DataDir(),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "port="+strconv.Itoa(s.Port()))
	awaitPIDFile(t, s.DataDir(), orphan.Process.Pid)

	again := start(t, keeping(dir))
	if err := orphan.Wait(); err != nil {
		t.Errorf("the orphan ended with %v, want an ordered stop", err)
	}
	if got := query(t, again.URL("postgres"), "select n::text from kept"); got != "42" {
		t.Errorf("read %q, want 42", got)
	}
}

func TestStalePIDFile(t *testing.T) {
	t.Parallel()
	dir := freshDir(t)
	s := start(t, keeping(dir))
	running, err := os.ReadFile(filepath.Join(s.DataDir(), "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(running), "\n")
	stop(t, s)
	sleeper := run(t, s, "/bin/sleep", "600") // belongs to the user that Postgres runs as

	for _, tt := range []struct{ name, content string }{
		{"of a dead process", strconv.Itoa(deadPID(t)) + "\n" + rest},
		{"of a living process that is no Postgres", strconv.Itoa(sleeper.Process.Pid) + "\n" + rest},
		{"empty", ""},
		{"cut short", "12"},
		{"nonsense", "\x00\x00\x00\x00\n"},
	} {
		err := os.WriteFile(filepath.Join(s.DataDir(), "postmaster.pid"), []byte(tt.content), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		chownLike(t, s.DataDir(), filepath.Join(s.DataDir(), "postmaster.pid"))
		again, err := devpg.Start(t.Context(), keeping(dir))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		stop(t, again)
	}
	if err := sleeper.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the process that is no Postgres: %v, want it to live", err)
	}
}

func TestReset(t *testing.T) {
	t.Parallel()
	t.Run("nothing there", func(t *testing.T) {
		t.Parallel()
		if err := devpg.Reset(newDir(t)); err != nil {
			t.Errorf("error %v, want none", err)
		}
	})
	t.Run("the data goes", func(t *testing.T) {
		t.Parallel()
		dir := freshDir(t)
		s := start(t, keeping(dir))
		query(t, s.URL("postgres"), "create table gone as select 42 as n")
		stop(t, s)
		if err := devpg.Reset(dir); err != nil {
			t.Fatal(err)
		}
		if exists(dir) {
			t.Errorf("%s is still there", dir)
		}
		s = start(t, keeping(dir))
		if got := query(t, s.URL("postgres"), "select (to_regclass('gone') is null)::text"); got != "true" {
			t.Error("a table has outlived Reset")
		}
	})
	t.Run("other files stay", func(t *testing.T) {
		t.Parallel()
		dir := freshDir(t)
		notes := filepath.Join(dir, "notes.txt")
		if err := os.WriteFile(notes, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := devpg.Reset(dir); err != nil {
			t.Fatal(err)
		}
		if !exists(notes) || exists(filepath.Join(dir, "data")) {
			t.Errorf("notes there: %t, data there: %t; want true false", exists(notes), exists(filepath.Join(dir, "data")))
		}
	})
}

// Neither Start nor Reset touches a directory that holds other things.
func TestForeignDirectory(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	precious := filepath.Join(dir, "data", "precious")
	if err := os.MkdirAll(filepath.Dir(precious), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, startErr := devpg.Start(t.Context(), keeping(dir))
	for what, err := range map[string]error{"Start": startErr, "Reset": devpg.Reset(dir)} {
		if err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: error %v, want one that names %s", what, err, dir)
		}
	}
	if !exists(precious) {
		t.Error("the file is gone")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory has %d entries, %v; want the one that it had", len(entries), err)
	}
}

func TestDamagedDirectory(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"data/PG_VERSION": "PG_VERSION", "password": "password"} {
		dir := freshDir(t)
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		_, err := devpg.Start(t.Context(), keeping(dir))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--reset") {
			t.Errorf("without %s: error %v, want one that names it and --reset", name, err)
		}
		if !exists(filepath.Join(dir, "data", "base")) {
			t.Errorf("without %s: the data is gone", name)
		}
	}
}

func TestVersionMismatch(t *testing.T) {
	t.Parallel()
	dir := freshDir(t)
	s := start(t, keeping(dir))
	stop(t, s)
	if err := os.WriteFile(filepath.Join(s.DataDir(), "PG_VERSION"), []byte("13\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := devpg.Start(t.Context(), keeping(dir))
	mismatch, ok := errors.AsType[*devpg.VersionError](err)
	if !ok {
		t.Fatalf("error %v, want a VersionError", err)
	}
	if mismatch.Data != 13 || !strings.HasPrefix(s.Version(), strconv.Itoa(mismatch.Binary)) {
		t.Errorf("versions %d and %d, want 13 and that of %s", mismatch.Data, mismatch.Binary, s.Version())
	}
	if !strings.Contains(err.Error(), "--reset") {
		t.Errorf("the message %q does not offer --reset", err)
	}
}

func TestPostgresRunsAsOrdinaryUser(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]devpg.Config{
		"":       keeping(freshDir(t)),
		"nobody": {Temporary: true, User: "nobody"},
	} {
		s := start(t, cfg)
		got, want := ownerOf(t, filepath.Join(s.DataDir(), "postmaster.pid")), os.Geteuid()
		if os.Geteuid() == 0 {
			want = systemUser(t, name)
		}
		if got != want {
			t.Errorf("User %q: Postgres runs as uid %d, want %d", name, got, want)
		}
		if got == 0 {
			t.Errorf("User %q: Postgres runs as root", name)
		}
		query(t, s.URL("postgres"), "select 'it answers'")
	}
}

// For callers other than root Postgres runs as the caller.
func TestUserIsChecked(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"root", "no-such-user"} {
		cfg := keeping(freshDir(t))
		cfg.User = name
		s, err := devpg.Start(t.Context(), cfg)
		if os.Geteuid() != 0 {
			if err != nil {
				t.Fatalf("User %q: %v, want it to be ignored", name, err)
			}
			stop(t, s)
			continue
		}
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "TASKFEED_PG_USER") {
			t.Errorf("User %q: error %v, want one that names it and TASKFEED_PG_USER", name, err)
		}
	}
}

// systemUser returns the uid that Postgres runs as for root.
func systemUser(t *testing.T, name string) int {
	t.Helper()
	names := []string{name}
	if name == "" {
		names = []string{os.Getenv("TASKFEED_PG_USER"), "postgres", "nobody"}
	}
	for _, n := range names {
		if u, err := user.Lookup(n); err == nil {
			uid, err := strconv.Atoi(u.Uid)
			if err != nil {
				t.Fatal(err)
			}
			return uid
		}
	}
	t.Fatalf("none of the users %q exists", names)
	return 0
}

func ownerOf(t *testing.T, path string) int {
	t.Helper()
	return int(stat(t, path).Uid)
}

func stat(t *testing.T, path string) *syscall.Stat_t {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t)
}

func chownLike(t *testing.T, model, path string) {
	t.Helper()
	m := stat(t, model)
	if err := os.Chown(path, int(m.Uid), int(m.Gid)); err != nil {
		t.Fatal(err)
	}
}

// run starts a program as the user that the server's Postgres runs as.
func run(t *testing.T, s *devpg.Server, program string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = s.DataDir()
	cmd.Env = []string{"LC_ALL=C"}
	if os.Geteuid() == 0 {
		m := stat(t, s.DataDir())
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: m.Uid, Gid: m.Gid}}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // the test may have waited
	})
	return cmd
}

// deadPID returns the pid of a process that has just ended.
func deadPID(t *testing.T) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sleep", "0")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// awaitEnd waits until the server of a URL has stopped listening.
func awaitEnd(t *testing.T, serverURL string) {
	t.Helper()
	u, err := url.Parse(serverURL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.After(30 * time.Second)
	for tick := time.Tick(10 * time.Millisecond); !refused(t, port); {
		select {
		case <-deadline:
			t.Fatal("Postgres outlives its owner")
		case <-tick:
		}
	}
}

// awaitPIDFile waits until Postgres has written its pid file.
func awaitPIDFile(t *testing.T, dataDir string, pid int) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for tick := time.Tick(10 * time.Millisecond); ; {
		raw, _ := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
		if strings.HasPrefix(string(raw), strconv.Itoa(pid)+"\n") && strings.Contains(string(raw), "ready") {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("process %d did not become ready; postmaster.pid is %q", pid, raw)
		case <-tick:
		}
	}
}
