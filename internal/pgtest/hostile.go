package pgtest

import (
	_ "embed"
	"fmt"
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
