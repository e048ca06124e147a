package deploy

import (
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/lab/doctest"
)

// settings returns the variables that taskfeed serve reads, with their defaults;
// cmd/taskfeed tests that docs/OPERATIONS.md lists them all.
func settings(t *testing.T) map[string]string {
	t.Helper()
	known := make(map[string]string)
	for _, cells := range doctest.Rows(doctest.Section(t, "docs/OPERATIONS.md", "Settings")) {
		if len(cells) == 4 {
			known[strings.Trim(cells[0], "`")] = strings.Trim(cells[2], "`–")
		}
	}
	return known
}

// wantSetting reports a variable that taskfeed does not read.
func wantSetting(t *testing.T, file, name string) {
	t.Helper()
	if _, ok := settings(t)[strings.TrimSuffix(name, "_FILE")]; !ok {
		if _, ok := settings(t)[name]; !ok {
			t.Errorf("%s sets %s: got no such setting, want one of taskfeed serve", file, name)
		}
	}
}

// closing is what a shutdown may take beyond the drain, as docs/OPERATIONS.md says.
const closing = 6 * time.Second

// drain is how long a server with default settings takes to end.
func drain(t *testing.T) time.Duration {
	t.Helper()
	known := settings(t)
	return span(t, known["TASKFEED_DRAIN"]) + span(t, known["TASKFEED_DRAIN_DELAY"]) + closing
}

func span(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(strings.Replace(text, "min", "m", 1))
	if err != nil {
		t.Fatalf("duration: got %q, want one that can be parsed: %v", text, err)
	}
	return d
}
