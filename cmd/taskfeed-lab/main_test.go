package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/lab/locked"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// asProgram in the environment makes the test binary behave as taskfeed-lab: writers,
// clients and the baseline's server are processes of it.
const asProgram = "TASKFEED_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Unsetenv(asProgram)
		main()
	}
	dir, err := os.MkdirTemp("", "taskfeed-lab-test-")
	if err != nil {
		panic(err)
	}
	built = dir
	pgtest.Main(withoutDir{m})
}

// withoutDir removes the built program when the tests have ended.
type withoutDir struct{ m *testing.M }

// Run runs the tests.
func (w withoutDir) Run() int {
	defer os.RemoveAll(built)
	return w.m.Run()
}

// built is the directory of the program from which servers are started.
var built string

// build builds that program, once for all tests.
var build = sync.OnceValues(func() (binary string, err error) {
	binary = filepath.Join(built, "taskfeed")
	out, err := exec.Command("go", "build", "-race", "-o", binary, "../taskfeed").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build taskfeed: %w\n%s", err, out)
	}
	return binary, nil
})

// runLab runs taskfeed-lab in this process.
func runLab(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs locked.Buffer
	status = cli.Run(t.Context(), rootCommand, args, os.Environ(), &out, &errs)
	return status, out.String(), errs.String()
}

// The error for a missing program names the flag.
func TestTaskfeedIsNotFound(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"verify", "--taskfeed", "/nowhere/taskfeed"}, {"bench", "--taskfeed", "/nowhere/taskfeed"}} {
		if status, _, stderr := runLab(t, args...); status != 2 || !strings.Contains(stderr, "--taskfeed") {
			t.Errorf("%q: status %d and %q, want 2 and an error that names the flag", args, status, stderr)
		}
	}
}
