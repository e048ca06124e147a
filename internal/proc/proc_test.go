package proc_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/internal/proc"
	"github.com/taskfeed/taskfeed/lab/leaktest"
)

// asParent makes the test binary start a child and wait to be killed.
const asParent = "TASKFEED_TEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(asParent) != "" {
		parent()
		return
	}
	leaktest.Main(m)
}

// parent starts a child, prints its pid and waits to be killed.
func parent() {
	cmd := exec.Command("sleep", "600")
	proc.Attach(cmd, syscall.SIGKILL)
	p, err := proc.Start(cmd)
	if err != nil {
		panic(err)
	}
	fmt.Println(p.PID())
	<-p.Done()
}

func sleeper(t *testing.T, args ...string) *proc.Process {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	proc.Attach(cmd, syscall.SIGKILL)
	p, err := proc.Start(cmd)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(p.Kill)
	return p
}

func TestEndings(t *testing.T) {
	t.Parallel()
	if p := sleeper(t, "true"); p.Err() != nil || p.Exit() != "exit status 0" || !p.Ended() {
		t.Errorf("true: got %v, want exit status 0", p.Exit())
	}
	if p := sleeper(t, "false"); p.Err() == nil || p.Exit() != "exit status 1" {
		t.Errorf("false: got %v, want exit status 1", p.Exit())
	}
	if p := sleeper(t, "sleep", "600"); !p.Stop(time.Minute) {
		t.Error("a process that heeds SIGTERM: got a kill, want an ordered end")
	}
	p := sleeper(t, "sh", "-c", "trap '' TERM; while true; do sleep 1; done")
	if p.Wait(0) {
		t.Error("a running process: got its end, want none")
	}
	p.Signal(syscall.SIGSTOP)
	p.Kill() // also a stopped one
	if !p.Ended() {
		t.Error("a killed process: got it running, want its end")
	}
	if _, err := proc.Start(exec.Command("/nowhere/at/all")); err == nil {
		t.Error("a missing program: got no error, want one")
	}
}

// A child ends even when its parent is killed and cannot end it.
func TestChildEndsWithItsParent(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("the system does not signal the children of a process that ends")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asParent+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("pipe: %v", err)
	}
	p, err := proc.Start(cmd)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("read the child's number: %v", err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("parse the child's number: %v", err)
	}
	p.Kill()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for running(child) {
		select {
		case <-deadline:
			t.Fatalf("the child %d outlived its parent", child)
		case <-tick.C:
		}
	}
}

// running reports whether the process exists and is not a zombie.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}
