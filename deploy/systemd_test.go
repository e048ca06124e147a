package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/doctest"
)

// unitFiles are the units, with the sections of documents that say how to install them.
var unitFiles = map[string][2]string{
	"deploy/systemd/taskfeed.service":         {"docs/OPERATIONS.md", "As a service of systemd"},
	"deploy/systemd/taskfeed-gateway.service": {"docs/SCALING.md", "Run it"},
}

// unit returns the values of each option; systemd allows most to be repeated.
func unit(t *testing.T, file string) map[string][]string {
	t.Helper()
	options := make(map[string][]string)
	for line := range strings.Lines(doctest.Read(t, file)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			options[name] = append(options[name], value)
		}
	}
	return options
}

func TestUnit(t *testing.T) {
	t.Parallel()
	for file, guide := range unitFiles {
		testUnit(t, file)
		if text := doctest.Section(t, guide[0], guide[1]); !strings.Contains(text, file) {
			t.Errorf("%s does not name %s", guide[0], file)
		}
	}
}

func testUnit(t *testing.T, unitFile string) {
	t.Helper()
	options := unit(t, unitFile)
	loaded := make(map[string]bool)
	for _, credential := range options["LoadCredential"] {
		name, _, _ := strings.Cut(credential, ":")
		loaded[name] = true
	}
	for _, pair := range options["Environment"] {
		name, value, _ := strings.Cut(pair, "=")
		wantSetting(t, unitFile, name)
		if credential, ok := strings.CutPrefix(value, "%d/"); ok && !loaded[credential] {
			t.Errorf("%s: got the path of the credential %s, want one that is loaded", name, credential)
		}
	}
	if got, want := options["Type"][0], "notify"; got != want {
		t.Errorf("Type: got %s, want %s", got, want)
	}
	if got, least := span(t, options["TimeoutStopSec"][0]), drain(t); got <= least {
		t.Errorf("TimeoutStopSec: got %v, want more than the %v that a shutdown may take", got, least)
	}
	if got, least := span(t, options["TimeoutStartSec"][0]), span(t, settings(t)["TASKFEED_START_WAIT"]); got <= least {
		t.Errorf("TimeoutStartSec: got %v, want more than the %v of TASKFEED_START_WAIT", got, least)
	}
	files, err := strconv.Atoi(options["LimitNOFILE"][0])
	if err != nil {
		t.Fatalf("LimitNOFILE: %v", err)
	}
	connections, err := strconv.Atoi(settings(t)["TASKFEED_MAX_CONNECTIONS"])
	if err != nil {
		t.Fatalf("TASKFEED_MAX_CONNECTIONS: %v", err)
	}
	if files < connections+1000 {
		t.Errorf("LimitNOFILE: got %d, want at least 1000 more than the %d connections", files, connections)
	}
}

// systemd itself accepts the unit, and finds it well confined. Where there is no
// systemd, as on macOS, only TestUnit looks at it.
func TestUnitBySystemd(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze on this machine")
	}
	for unitFile := range unitFiles {
		// The program need not be installed here.
		text := strings.Replace(doctest.Read(t, unitFile), "ExecStart=/usr/local/bin/taskfeed ", "ExecStart=/bin/sh ", 1)
		copied := filepath.Join(t.TempDir(), filepath.Base(unitFile))
		if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		const exposure = "15" // of 100
		for _, args := range [][]string{{"verify", copied}, {"security", "--offline=yes", "--threshold=" + exposure, copied}} {
			out, err := exec.Command(analyze, args...).CombinedOutput()
			if err != nil || args[0] == "verify" && len(out) > 0 {
				t.Errorf("systemd-analyze %s of %s: got %v and\n%s\nwant no complaint", args[0], unitFile, err, out)
			}
		}
	}
}
