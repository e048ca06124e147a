package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/internal/proc"
	"github.com/taskfeed/taskfeed/lab/locked"
	"github.com/taskfeed/taskfeed/lab/natstest"
)

// The fleet comes up, says how to try it, and leaves nothing behind.
func TestFleet(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	taskfeed, err := build()
	if err != nil {
		t.Fatal(err)
	}
	var out locked.Buffer
	cmd := exec.Command(self, "fleet", "--taskfeed", taskfeed, "--engine", natstest.Build(t), "--port", "0")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stdout, cmd.Stderr = &out, &out
	proc.Attach(cmd, syscall.SIGTERM)
	p, err := proc.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(3 * time.Minute)
	for !strings.Contains(out.String(), "Ctrl-C ends all") {
		select {
		case <-tick.C:
		case <-p.Done():
			t.Fatalf("the fleet has ended: %s\n%s", p.Exit(), &out)
		case <-limit:
			t.Fatalf("the fleet is not there:\n%s", &out)
		}
	}
	for _, want := range []string{"core-2", "gateway-3", "/console", "taskfeed tail"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output is\n%s\nwant %s in it", &out, want)
		}
	}
	if !p.Stop(30 * time.Second) {
		t.Error("killed after 30 s, want it to end in order")
	}
	if p.Err() != nil {
		t.Errorf("ended with %s:\n%s", p.Exit(), &out)
	}
}
