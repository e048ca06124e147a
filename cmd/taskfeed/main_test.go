package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/internal/proc"
	"github.com/taskfeed/taskfeed/lab/locked"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// asProgram in the environment makes the test binary behave as taskfeed itself,
// so that tests can start and kill real processes.
const asProgram = "TASKFEED_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Unsetenv(asProgram)
		main()
	}
	pgtest.Main(m)
}

const testSecret = "a secret of the tests alone, of 32 bytes and more"

// testToken returns a token that is valid for an hour.
func testToken(t testing.TB, user string) string {
	t.Helper()
	return testTokenWithRole(t, user, "")
}

func testTokenWithRole(t testing.TB, user, role string) string {
	t.Helper()
	token, err := auth.Issue(auth.Config{Secret: []byte(testSecret)}, user, role, time.Hour)
	if err != nil {
		t.Fatalf("issue a token: %v", err)
	}
	return token
}

// process is taskfeed in its own process.
type process struct {
	*proc.Process
	stdout *locked.Buffer
	stderr *locked.Buffer
}

// start runs taskfeed with the given arguments and environment and kills it when
// the test ends.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatalf("find the test binary: %v", err)
	}
	p := &process{stdout: &locked.Buffer{}, stderr: &locked.Buffer{}}
	cmd := exec.Command(binary, args...)
	cmd.Env = append([]string{asProgram + "=1", "PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GORACE=" + os.Getenv("GORACE")}, env...)
	cmd.Stdout, cmd.Stderr = p.stdout, p.stderr
	proc.Attach(cmd, syscall.SIGKILL)
	if p.Process, err = proc.Start(cmd); err != nil {
		t.Fatalf("start taskfeed: %v", err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("log of taskfeed %s:\n%s", strings.Join(args, " "), p.stderr)
		}
	})
	return p
}

// wait returns the exit status, and fails the test if the process does not end.
func (p *process) wait(t *testing.T, bound time.Duration) int {
	t.Helper()
	if !p.Wait(bound) {
		t.Fatalf("taskfeed still runs after %v", bound)
	}
	if exit, ok := errors.AsType[*exec.ExitError](p.Err()); ok {
		return exit.ExitCode()
	}
	if p.Err() != nil {
		t.Fatalf("wait for taskfeed: %v", p.Err())
	}
	return 0
}

// eventually polls until check holds.
func eventually(t *testing.T, what string, bound time.Duration, check func() bool) {
	t.Helper()
	deadline := time.After(bound)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !check() {
		select {
		case <-deadline:
			t.Fatalf("%s: not within %v", what, bound)
		case <-tick.C:
		}
	}
}

// get returns the status and body of a URL, and 0 without an answer.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatalf("make a request: %v", err)
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, ""
	}
	return res.StatusCode, string(body)
}

// freePort returns a port that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// serving is "taskfeed serve" as a process.
type serving struct {
	*process
	base string // URL
}

// startServing starts a server on a database and waits until it is ready.
func startServing(t *testing.T, databaseURL string, env ...string) *serving {
	t.Helper()
	return startServingOn(t, freePort(t), databaseURL, env...)
}

// startServingOn is startServing on a port, for a server that replaces another.
func startServingOn(t *testing.T, port, databaseURL string, env ...string) *serving {
	t.Helper()
	s := launch(t, port, databaseURL, env...)
	eventually(t, "the server is ready", 30*time.Second, func() bool {
		status, _ := get(t, s.base+"/readyz")
		return status == http.StatusOK
	})
	return s
}

// launch is startServingOn without waiting until the server is ready.
func launch(t *testing.T, port, databaseURL string, env ...string) *serving {
	t.Helper()
	env = append([]string{"DATABASE_URL=" + databaseURL, "TASKFEED_JWT_SECRET=" + testSecret,
		"TASKFEED_ADDR=127.0.0.1", "PORT=" + port, "TASKFEED_DRAIN=1s"}, env...)
	return &serving{start(t, env, "serve"), "http://127.0.0.1:" + port}
}

// leads reports whether the server says that it is the sequencer.
func (s *serving) leads(t *testing.T) bool {
	return s.metric(t, "taskfeed_is_leader") == "1"
}
