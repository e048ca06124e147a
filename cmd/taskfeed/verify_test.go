package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/internal/planted"
	"github.com/taskfeed/taskfeed/lab/verify"
	"github.com/taskfeed/taskfeed/lab/verify/check"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// runVerifyCommand runs taskfeed verify with arguments and returns its exit status
// and what it printed.
func runVerifyCommand(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	status = run(t.Context(), append([]string{"verify"}, args...), nil, &out, &errs)
	return status, out.String(), errs.String()
}

// The planted bugs in the document are those that there are, each with the
// property that catches it and the command that shows it.
func TestDocumentedPlantedBugs(t *testing.T) {
	t.Parallel()
	var documented, real []string
	for _, cells := range tableRows(section(t, "docs/PROMISES.md", "How this is proved")) {
		if len(cells) == 4 {
			documented = append(documented, strings.Join(cells, " | "))
		}
	}
	for _, b := range verify.PlantedBugs {
		real = append(real, strings.Join([]string{"`" + string(b.Bug) + "`", b.Says, b.Property, "`" + b.Command() + "`"}, " | "))
	}
	wantSame(t, "planted bugs in docs/PROMISES.md", documented, real)
	if len(real) < 12 {
		t.Errorf("got %d planted bugs, want 12 at least", len(real))
	}
}

// Every bug that can be planted is in the list, and no other.
func TestPlantedBugsAreListed(t *testing.T) {
	t.Parallel()
	var listed []string
	for _, b := range verify.PlantedBugs {
		listed = append(listed, string(b.Bug))
	}
	wantSame(t, "planted bugs", listed, submatches(`(?m)^\t\w+ +Bug = "([\w-]+)"`, readTop(t, "internal/planted/planted.go")))
}

// The document says what is not run, and why.
func TestDocumentedNotRun(t *testing.T) {
	t.Parallel()
	var documented, real []string
	for line := range strings.Lines(section(t, "docs/PROMISES.md", "How this is proved")) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "- not run: "); ok {
			documented = append(documented, text)
		}
	}
	for _, row := range verify.Rows {
		if row.NotRun != "" {
			real = append(real, row.Says+": "+row.NotRun)
		}
	}
	wantSame(t, "what docs/PROMISES.md says is not run", documented, real)
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
		"an unknown output":      {[]string{"--output", "xml"}, "xml"},
		"one server":             {[]string{"--servers", "1"}, "servers"},
		"a negative round":       {[]string{"--rounds", "-1"}, "rounds"},
		"a build without bugs":   {[]string{"--planted", "all"}, "-tags planted"},
		"a directory without it": {[]string{"--check", t.TempDir()}, "run.json"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if planted.Built && name == "a build without bugs" {
				t.Skip("this is a build with bugs")
			}
			status, _, stderr := runVerifyCommand(t, tt.args...)
			if status == 0 || !strings.Contains(stderr, tt.want) {
				t.Errorf("status %d, %q, want a failure that names %q", status, stderr, tt.want)
			}
		})
	}
}

// A history that was kept is judged again, by the same exit statuses.
func TestVerifyCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	header := history.Header{Format: 1, Seed: 7, Command: "taskfeed verify --seed 7", Truth: "slot", MemoryLimit: 1}
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
