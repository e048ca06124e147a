package leaktest_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/taskfeed/taskfeed/lab/leaktest"
)

// childEnv says what a child process of the tests does: whether it leaks a goroutine,
// and the status with which its tests end.
const childEnv = "LEAKTEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "leak":
		leaktest.Main(run(func() int { leak(); return 0 }))
	case "leak and fail":
		leaktest.Main(run(func() int { leak(); return 3 }))
	case "leak what is excluded":
		leaktest.Main(run(func() int { leak(); return 0 }), goleak.IgnoreAnyFunction("github.com/taskfeed/taskfeed/lab/leaktest_test.block"))
	case "clean":
		leaktest.Main(run(func() int { return 0 }))
	}
	leaktest.Main(m)
}

func TestMainExitStatus(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		child  string
		want   int
		output string // must occur in what the child prints
	}{
		{"clean", 0, ""},
		{"leak", 1, "leaktest_test.block"},
		{"leak and fail", 3, ""},
		{"leak what is excluded", 0, ""},
	} {
		t.Run(tt.child, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), childEnv+"="+tt.child)
			out, err := cmd.CombinedOutput()
			got := 0
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				got = exit.ExitCode()
			} else if err != nil {
				t.Fatalf("run the child: %v", err)
			}
			if got != tt.want {
				t.Errorf("exit status %d, want %d; it printed:\n%s", got, tt.want, out)
			}
			if !strings.Contains(string(out), tt.output) {
				t.Errorf("the child printed %q, want it to name %q", out, tt.output)
			}
		})
	}
}

// run makes a function look like a *testing.M.
type run func() int

func (r run) Run() int { return r() }

// leak starts a goroutine that never ends, and returns when it runs.
func leak() {
	started := make(chan struct{})
	go block(started)
	<-started
}

func block(started chan<- struct{}) {
	close(started)
	select {}
}
