package verify

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Every row of the catalogue is tried somewhere or says why not; the faults and tests
// that it names exist; every fault belongs to a row.
func TestRows(t *testing.T) {
	t.Parallel()
	others := []string{"net-slow", "client-slow", "token-expiry", "doorbell"} // not in the catalogue of faults
	named := slices.Clone(others)
	for i, r := range Rows {
		if got, want := r.Number, i+1; got != want {
			t.Errorf("got row %d, want row %d", got, want)
		}
		if tried := len(r.Faults)+len(r.Tests) > 0 || r.Always != ""; tried == (r.NotRun != "") {
			t.Errorf("row %d: tried %v and not run for the reason %q, want one of both", r.Number, tried, r.NotRun)
		}
		for _, name := range r.Tests {
			wantTest(t, r.Number, name)
		}
		named = append(named, r.Faults...)
	}
	for _, name := range named {
		if !slices.ContainsFunc(catalogue, func(f fault) bool { return f.name == name }) {
			t.Errorf("a row names the fault %q, and there is none", name)
		}
	}
	for _, f := range catalogue {
		if !slices.Contains(named, f.name) {
			t.Errorf("no row names the fault %s", f.name)
		}
	}
}

// wantTest looks for a test, given as its package and name.
func wantTest(t *testing.T, row int, test string) {
	t.Helper()
	pkg, name, _ := strings.Cut(test, " ")
	files, err := filepath.Glob(filepath.Join("..", "..", pkg, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(source), "\nfunc "+name+"(") {
			return
		}
	}
	t.Errorf("row %d names the test %s, and there is none", row, test)
}
