package taskfeed_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed"
)

// The clients in TypeScript write the protocol's constants down once more.
func TestTypeScriptConstants(t *testing.T) {
	t.Parallel()
	t.Run("client", func(t *testing.T) {
		t.Parallel()
		source := typeScript(t, "web/client/src")
		wantSubprotocol(t, source)
		wantQuoted(t, source, `"(feed_\w+)"`, taskfeed.TypeFeedLive, taskfeed.TypeFeedReset, taskfeed.TypeFeedClosed, taskfeed.TypeFeedRead)
		wantQuoted(t, source, `\btype: "(task_\w+)"`, slices.Clone(taskfeed.TaskTypes)...)
		wantQuoted(t, source, `\btask_\w+: "(\w+)"`, slices.Clone(taskfeed.Statuses)...)
		reasons := regexp.MustCompile(`type ResetReason = (.*);`).FindString(source)
		wantQuoted(t, reasons, `"(\w+)"`, taskfeed.ResetExpired, taskfeed.ResetAhead, taskfeed.ResetSourceBroken)

		// It does alike after the codes that it does not name.
		named := []int{taskfeed.CloseBadToken, taskfeed.CloseForbidden, taskfeed.CloseSlow, taskfeed.CloseDisconnected, taskfeed.ClosePermanent}
		var got []int
		for _, digits := range regexp.MustCompile(`\b4\d{3}\b`).FindAllString(source, -1) {
			code, _ := strconv.Atoi(digits)
			got = append(got, code)
		}
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, named) {
			t.Errorf("close codes: got %v, want %v", got, named)
		}
		for code, meaning := range map[int]string{taskfeed.CloseBadToken: "rejected", taskfeed.CloseForbidden: "forbidden", taskfeed.CloseDisconnected: "disconnected"} {
			if want := strconv.Itoa(code) + `: "` + meaning + `"`; !strings.Contains(source, want) {
				t.Errorf("the client does not have %s", want)
			}
		}
	})
	t.Run("console", func(t *testing.T) {
		t.Parallel()
		wantSubprotocol(t, typeScript(t, "web/console/src"))
	})
}

// typeScript returns what is in a directory, all files in one.
func typeScript(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.ts*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("sources in %s: got %d files, error %v, want some", dir, len(files), err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

// wantSubprotocol expects a source to offer the subprotocol and the token as one.
func wantSubprotocol(t *testing.T, source string) {
	t.Helper()
	wantQuoted(t, source, `"(taskfeed\.v\d+)"`, taskfeed.Subprotocol)
	wantQuoted(t, source, `"(\w+\.)" \+ token`, taskfeed.BearerPrefix)
}

// wantQuoted expects that just these texts match the group of a pattern.
func wantQuoted[T ~string](t *testing.T, source, pattern string, want ...T) {
	t.Helper()
	var got []T
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(source, -1) {
		got = append(got, T(match[1]))
	}
	slices.Sort(got)
	slices.Sort(want)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("matches of %s: got %q, want %q", pattern, got, want)
	}
}
