package migrations_test

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/migrations"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	goldenText  = "expected/schema.sql"  // for people
	goldenParts = "expected/schema.json" // for doctor, a line each
)

// describe returns the schema of a database as text.
func describe(t *testing.T, url string) string {
	t.Helper()
	return migrations.Print(parts(t, url))
}

func parts(t *testing.T, url string) []migrations.Part {
	t.Helper()
	parts, err := migrations.Describe(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

const goldenTitle = "-- The schema taskfeed as the migrations make it; checked by a test (-update writes it).\n\n"

// TestGoldenSchema shows in a review what a migration really changes.
func TestGoldenSchema(t *testing.T) {
	t.Parallel()
	parts := parts(t, pgtest.New(t))
	wantGolden(t, goldenText, goldenTitle+migrations.Print(parts))
	var lines strings.Builder
	encoder := json.NewEncoder(&lines)
	encoder.SetEscapeHTML(false)
	for _, p := range parts {
		if err := encoder.Encode(p); err != nil {
			t.Fatal(err)
		}
	}
	wantGolden(t, goldenParts, lines.String())
}

func wantGolden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		g, w := line(gotLines, i), line(wantLines, i)
		if g != w {
			t.Fatalf("line %d of %s would be\n  %s\nnot\n  %s\n(go test ./migrations -run Golden -update writes it anew)", i+1, file, g, w)
		}
	}
}

func line(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}
