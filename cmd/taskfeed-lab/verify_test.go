package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/verify"
	"github.com/taskfeed/taskfeed/lab/verify/check"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// runVerifyCommand runs taskfeed-lab verify with arguments and returns its exit status
// and what it printed.
func runVerifyCommand(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return runLab(t, append([]string{"verify"}, args...)...)
}

func TestVerifyList(t *testing.T) {
	t.Parallel()
	status, out, _ := runVerifyCommand(t, "--list")
	if status != 0 {
		t.Fatalf("status %d, want 0", status)
	}
	for _, f := range verify.Faults() {
		if !strings.Contains(out, f.Name+" ") {
			t.Errorf("the list does not name the fault %s", f.Name)
		}
	}
	for _, row := range verify.Rows {
		if row.NotRun != "" && !strings.Contains(out, row.NotRun) {
			t.Errorf("the list does not say why row %d is not run", row.Number)
		}
	}
}

func TestVerifyUsage(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"an unknown fault":       {[]string{"--faults", "kill-cat"}, "kill-cat"},
		"an unknown output":      {[]string{"--output", "xml"}, "--output"},
		"one server":             {[]string{"--servers", "1"}, "servers"},
		"negative engines":       {[]string{"--engine-servers", "-1"}, "engine servers"},
		"no such engine":         {[]string{"--engine", "/nowhere/natsd"}, "--engine"},
		"a negative round":       {[]string{"--rounds", "-1"}, "rounds"},
		"an unknown mistake":     {[]string{"--planted", "sloth"}, "sloth"},
		"a directory without it": {[]string{"--check", t.TempDir()}, "run.json"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, _, stderr := runVerifyCommand(t, tt.args...)
			if status == 0 || !strings.Contains(stderr, tt.want) {
				t.Errorf("status %d, %q, want a failure that names %q", status, stderr, tt.want)
			}
		})
	}
}

// A kept history is judged again, with the same exit statuses.
func TestVerifyCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	header := history.Header{Format: 1, Seed: 7, Command: "taskfeed-lab verify --seed 7", Truth: "slot", MemoryLimit: 1}
	write := func() {
		if err := history.WriteHeader(dir, header); err != nil {
			t.Fatal(err)
		}
	}
	write() // it has no end
	status, out, _ := runVerifyCommand(t, "--check", dir)
	if status != statusInvalid || !strings.Contains(out, "INVALID") {
		t.Errorf("status %d\n%s\nwant %d and INVALID", status, out, statusInvalid)
	}
	header.Marker = "w1.1"
	write()
	status, out, _ = runVerifyCommand(t, "--check", dir, "--output", "json")
	var report check.Report
	if err := json.Unmarshal([]byte(out), &report); status != 0 || err != nil || report.Verdict != check.Pass {
		t.Errorf("status %d, %v\n%s\nwant 0 and a pass", status, err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "server-s1.log"), []byte("canary-0123456789\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, out, _ = runVerifyCommand(t, "--check", dir)
	if status != 1 || !strings.Contains(out, "server-s1.log:1") || !strings.Contains(out, header.Command) {
		t.Errorf("status %d\n%s\nwant 1, the line of the log and the command that repeats the run", status, out)
	}
}
