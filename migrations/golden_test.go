package migrations_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/internal/pgtest"
	"github.com/taskfeed/taskfeed/migrations"
)

var update = flag.Bool("update", false, "write the golden files anew")

const goldenFile = "expected/schema.sql"

// describe returns the schema of a database as text.
func describe(t *testing.T, url string) string {
	t.Helper()
	text, err := migrations.Describe(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

const goldenTitle = "-- The schema taskfeed as the migrations make it; checked by a test (-update writes it).\n\n"

// TestGoldenSchema shows in a review what a migration really changes.
func TestGoldenSchema(t *testing.T) {
	t.Parallel()
	got := goldenTitle + describe(t, pgtest.New(t))
	if *update {
		if err := os.WriteFile(goldenFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		g, w := line(gotLines, i), line(wantLines, i)
		if g != w {
			t.Fatalf("line %d of the schema is\n  %s\nwant\n  %s\n(go test ./migrations -run Golden -update writes it anew)", i+1, g, w)
		}
	}
}

func line(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}
