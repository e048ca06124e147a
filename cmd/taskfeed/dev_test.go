package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
)

// startDev starts "taskfeed dev" in its own directory and waits for the page.
func startDev(t *testing.T, dir string, args ...string) (p *process, base string) {
	t.Helper()
	p = start(t, []string{"PORT=" + freePort(t), "TASKFEED_DRAIN=1s"}, append([]string{"dev", "--dir", dir}, args...)...)
	page := regexp.MustCompile(`page +(http://[^/]+)/#token=`)
	eventually(t, "the banner is printed", 60*time.Second, func() bool {
		select {
		case <-p.Done():
			t.Fatalf("dev ended: %s", p.stderr)
		default:
		}
		return page.MatchString(p.stdout.String())
	})
	base = page.FindStringSubmatch(p.stdout.String())[1]
	eventually(t, "the server is ready", 30*time.Second, func() bool {
		status, _ := get(t, base+"/readyz")
		return status == 200
	})
	return p, base
}

// postmaster returns the process id of the private Postgres.
func postmaster(t *testing.T, dir string) int {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatalf("read postmaster.pid: %v", err)
	}
	pid, err := strconv.Atoi(strings.SplitN(string(content), "\n", 2)[0])
	if err != nil {
		t.Fatalf("read postmaster.pid: %v", err)
	}
	return pid
}

func gone(pid int) bool { return syscall.Kill(pid, 0) == syscall.ESRCH }

func TestDev(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(privateDir(t), "state")
	p, base := startDev(t, dir)

	out := p.stdout.String()
	for _, want := range []string{"page ", "token ", "tail ", "psql "} {
		if !strings.Contains(out, want) {
			t.Errorf("the banner lacks %q:\n%s", want, out)
		}
	}
	if status, body := get(t, base+"/"); status != 200 || !strings.Contains(body, "<html") {
		t.Errorf("the page answers %d", status)
	}
	alice := watchToken(t, base, "alice", bannerToken(t, out))
	eventually(t, "the demo moves tasks of alice, of her team and of the attached table", 30*time.Second, func() bool {
		events := alice.snapshot()
		return len(events) > 3 && slices.ContainsFunc(events, func(e taskfeed.Event) bool { return strings.HasPrefix(e.TaskID, "exports:") }) &&
			slices.ContainsFunc(events, func(e taskfeed.Event) bool { return e.UserID == demoTeam })
	})

	second := start(t, []string{"PORT=" + freePort(t)}, "dev", "--dir", dir)
	if got := second.wait(t, 30*time.Second); got != 1 {
		t.Errorf("a second dev in the same directory: exit status %d, want 1", got)
	}
	if got := second.stderr.String(); !strings.Contains(got, strconv.Itoa(p.PID())) {
		t.Errorf("a second dev does not say who runs already: %q", got)
	}

	pid := postmaster(t, dir)
	p.Signal(syscall.SIGKILL)
	p.wait(t, 10*time.Second)
	p, _ = startDev(t, dir, "--no-demo") // nothing of the first hinders it

	eventually(t, "the first Postgres is gone", 10*time.Second, func() bool { return gone(pid) })
	pid = postmaster(t, dir)
	inBanner(t, p.stdout.String(), `CREATE OR REPLACE FUNCTION taskfeed.hour_of(at timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS 'SELECT at'`)
	p.Signal(syscall.SIGINT)
	if got := p.wait(t, 15*time.Second); got != 0 {
		t.Errorf("exit status after Ctrl-C %d, want 0; stderr %s", got, p.stderr)
	}
	if !gone(pid) {
		t.Error("the private Postgres outlived dev")
	}

	p = start(t, []string{"PORT=" + freePort(t)}, "dev", "--dir", dir)
	if got := p.wait(t, 60*time.Second); got != 1 || !strings.Contains(p.stderr.String(), "hour_of") || !strings.Contains(p.stderr.String(), "dev --reset") {
		t.Errorf("dev on a schema of other migrations: exit status %d, want 1; stderr %q, want the difference and the way out", got, p.stderr)
	}
}

// Data of an earlier version, whose migrations the later ones do not fit.
func TestDevOnDataOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	p, _ := startDev(t, dir, "--no-demo")
	inBanner(t, p.stdout.String(), `DELETE FROM taskfeed.schema_version WHERE version_id > 6`)
	p.Signal(syscall.SIGINT)
	p.wait(t, 15*time.Second)
	p = start(t, []string{"PORT=" + freePort(t)}, "dev", "--dir", dir)
	if got := p.wait(t, 60*time.Second); got != 1 || !strings.Contains(p.stderr.String(), "dev --reset") {
		t.Errorf("dev on data of another version: exit status %d, want 1; stderr %q, want the way out", got, p.stderr)
	}
}

// inBanner runs a statement in the database that the banner names.
func inBanner(t *testing.T, banner, statement string) {
	t.Helper()
	url := regexp.MustCompile(`psql "(postgres[^"]+)"`).FindStringSubmatch(banner)
	if url == nil {
		t.Fatalf("the banner has no URL of the database:\n%s", banner)
	}
	conn, err := pgx.Connect(t.Context(), url[1])
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func bannerToken(t *testing.T, banner string) string {
	t.Helper()
	match := regexp.MustCompile(`token +(\S+)`).FindStringSubmatch(banner)
	if match == nil {
		t.Fatalf("the banner has no token:\n%s", banner)
	}
	return match[1]
}

// privateDir is a directory that an unprivileged Postgres can enter, unlike those of
// t.TempDir.
func privateDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "taskfeed-dev-test-")
	if err != nil {
		t.Fatalf("make a directory: %v", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatalf("open the directory: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
