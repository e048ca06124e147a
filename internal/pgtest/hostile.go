package pgtest

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

//go:embed hostile.sql
var hostileSQL string

// called matches what looks like a call of a function.
var called = regexp.MustCompile(`\b([a-z][a-z0-9_]*)\(`)

// Hostile fills the schema public of a database with operators and functions that
// fit better than those of Postgres wherever a call in one of these texts, which
// may be whole files, is not exact. Who binds to one gets SQLSTATE TF666.
func Hostile(t testing.TB, databaseURL string, texts ...string) {
	t.Helper()
	var names []string
	for _, text := range texts {
		for _, m := range called.FindAllStringSubmatch(text, -1) {
			names = append(names, "'"+m[1]+"'")
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 {
		t.Fatal("pgtest: no calls to be hostile to")
	}
	Exec(t, databaseURL, strings.ReplaceAll(hostileSQL, "{names}", fmt.Sprintf("ARRAY[%s]", strings.Join(names, ", "))))
}

// Sources returns the text of all files that match the patterns, each of which
// must match some: what Hostile is to be hostile to.
func Sources(t testing.TB, patterns ...string) (texts []string) {
	t.Helper()
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, error %v", pattern, len(files), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, string(text))
		}
	}
	return texts
}
