package archtest

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var checks = map[string]func([]source) []string{
	"imports":   checkImports,
	"names":     checkNames,
	"lengths":   checkLengths,
	"sleeps":    checkSleeps,
	"open ends": checkOpenEnds,
	"dials":     checkDials,
}

func TestTree(t *testing.T) {
	t.Parallel()
	sources, err := load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(sources, func(s source) bool { return s.path == "doc.go" && s.pkg == root }) {
		t.Fatalf("read %d files and doc.go is not among them, want the whole tree", len(sources))
	}
	for name, check := range checks {
		for _, fault := range check(sources) {
			t.Errorf("%s: %s", name, fault)
		}
	}
}

// Each check finds what it is for and accepts what is allowed.
func TestChecks(t *testing.T) {
	t.Parallel()
	reminder := "// TO" + "DO: later"
	for _, tt := range []struct {
		name, check   string
		path, content string
		want          string // "": no fault
	}{
		{"an import that points the right way", "imports", "store/a.go", importing("store", module, module+"/migrations", "github.com/jackc/pgx/v5/pgxpool", "net/http"), ""},
		{"an import of a sibling", "imports", "hub/a.go", importing("hub", module+"/store"), "hub/a.go:2: package hub may not import store"},
		{"an import that points back", "imports", "store/a.go", importing("store", "fmt", module+"/httpapi"), "store/a.go:3: package store may not import httpapi"},
		{"the root importing one of ours", "imports", "a.go", importing("taskfeed", module+"/auth"), "a.go:2: package . may not import auth"},
		{"the root importing an outside module", "imports", "a.go", importing("taskfeed", "golang.org/x/sync/errgroup"), "a.go:2: package . imports the standard library only, not golang.org/x/sync/errgroup"},
		{"the wiring importing everything of ours", "imports", "cmd/taskfeed/a.go", importing("main", module+"/store", module+"/hub", module+"/internal/devpg"), ""},
		{"the wiring importing a helper of tests", "imports", "cmd/taskfeed/a.go", importing("main", module+"/lab/pgtest"), "cmd/taskfeed/a.go:2: lab/pgtest is for tests"},
		{"the wiring importing the laboratory", "imports", "cmd/taskfeed/a.go", importing("main", module+"/lab/verify"), "cmd/taskfeed/a.go:2: lab/verify is of the laboratory, package cmd/taskfeed of the product"},
		{"the laboratory importing the laboratory", "imports", "cmd/taskfeed-lab/a.go", importing("main", module+"/lab/verify", module+"/store"), ""},
		{"an outside module away from home", "imports", "hub/a.go", importing("hub", "github.com/gorilla/websocket"), "hub/a.go:2: github.com/gorilla/websocket is not at home in package hub"},
		{"echo in the wiring", "imports", "cmd/taskfeed/a.go", importing("main", "github.com/labstack/echo/v4/middleware"), "cmd/taskfeed/a.go:2: github.com/labstack/echo/v4/middleware is not at home in package cmd/taskfeed"},
		{"a module whose name begins like a known one", "imports", "store/a.go", importing("store", "github.com/jackc/pgx/v5x"), "store/a.go:2: github.com/jackc/pgx/v5x is not in the table of outside modules"},
		{"an unknown module", "imports", "store/a.go", importing("store", "example.com/orm"), "store/a.go:2: example.com/orm is not in the table of outside modules"},
		{"cgo", "imports", "store/a.go", importing("store", "C"), "store/a.go:2: cgo is not used"},
		{"an unknown package", "imports", "internal/new/a.go", importing("new"), "internal/new/a.go:1: package internal/new is not in the table of packages"},
		{"a test importing its package and helpers", "imports", "hub/a_test.go", importing("hub_test", module+"/hub", module+"/lab/leaktest", "pgregory.net/rapid"), ""},
		{"a test importing a sibling", "imports", "hub/a_test.go", importing("hub_test", module+"/store"), "hub/a_test.go:2: package hub may not import store"},
		{"a test of the listener on the real log", "imports", "listener/a_test.go", importing("listener_test", module+"/store"), ""},
		{"a module of tests in what is shipped", "imports", "hub/a.go", importing("hub", "pgregory.net/rapid"), "hub/a.go:2: pgregory.net/rapid is not at home in package hub"},
		{"pgx in a test that may not use it", "imports", "hub/a_test.go", importing("hub", "github.com/jackc/pgx/v5"), "hub/a_test.go:2: github.com/jackc/pgx/v5 is not at home in package hub"},

		{"a name that says nothing", "names", "internal/util/strings/a.go", importing("strings"), "internal/util/strings/a.go:1: a directory called util says nothing"},
		{"a name that contains one", "names", "internal/utility/a.go", importing("utility"), ""},

		{"a file of 500 lines", "lengths", "hub/a.go", importing("hub") + strings.Repeat("\n", maxLines-1), ""},
		{"a file of 501 lines", "lengths", "hub/a.go", importing("hub") + strings.Repeat("\n", maxLines), "hub/a.go:500: the file has 501 lines, want 500 at most"},
		{"a long test", "lengths", "hub/a_test.go", importing("hub") + strings.Repeat("\n", maxLines), ""},
		{"a long generated file", "lengths", "hub/a.go", "// Code generated by stringer. DO NOT EDIT.\n" + importing("hub") + strings.Repeat("\n", maxLines), ""},

		{"a test that sleeps", "sleeps", "hub/a_test.go", importing("hub", "time") + "func f() { time.Sleep(1) }\n", "hub/a_test.go:3: a test waits for a signal or a bounded condition, not for time.Sleep"},
		{"a helper that sleeps", "sleeps", "lab/wstest/a.go", importing("wstest", "time") + "var sleep = time.Sleep\n", "lab/wstest/a.go:3: a test waits for a signal or a bounded condition, not for time.Sleep"},
		{"a test in a bubble that sleeps", "sleeps", "hub/a_test.go", importing("hub", "testing/synctest", "time") + "func f() { time.Sleep(1) }\n", ""},
		{"a server that sleeps", "sleeps", "hub/a.go", importing("hub", "time") + "func f() { time.Sleep(1) }\n", ""},
		{"a test that speaks of sleep", "sleeps", "hub/a_test.go", importing("hub") + "// time.Sleep is not used\n", ""},

		{"a connection of a package's own", "dials", "store/a.go", importing("store", "github.com/jackc/pgx/v5") + "var connect = pgx.Connect\n", "store/a.go:3: connections are set up by internal/dial, not by pgx.Connect"},
		{"a pool of a URL", "dials", "cmd/taskfeed/a.go", importing("main", "github.com/jackc/pgx/v5/pgxpool") + "var connect = pgxpool.New\n", "cmd/taskfeed/a.go:3: connections are set up by internal/dial, not by pgxpool.New"},
		{"a pool of a configuration", "dials", "store/a.go", importing("store", "github.com/jackc/pgx/v5/pgxpool") + "var connect = pgxpool.NewWithConfig\n", ""},
		{"a test's connection", "dials", "store/a_test.go", importing("store", "github.com/jackc/pgx/v5") + "var connect = pgx.Connect\n", ""},

		{"an open end", "open ends", "hub/a.go", importing("hub") + reminder + "\n", "hub/a.go:2: TO" + "DO: do it or file it"},
		{"an open end in SQL", "open ends", "migrations/1.sql", "-- FIX" + "ME\n", "migrations/1.sql:1: FIX" + "ME: do it or file it"},
		{"a word that contains one", "open ends", "hub/a.go", importing("hub") + "// TO" + "DOS\n", ""},
		{"an open end in what a tool wrote", "open ends", "web/dist/a.js", reminder, ""},
		{"an open end in code of others", "open ends", "web/node_modules/x/a.js", reminder, ""},
	} {
		t.Run(tt.check+"/"+tt.name, func(t *testing.T) {
			t.Parallel()
			sources, err := load(fstest.MapFS{tt.path: {Data: []byte(tt.content)}})
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(checks[tt.check](sources), "\n")
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// An outside module that nothing imports any more leaves the table.
func TestOutsideModulesAreInUse(t *testing.T) {
	t.Parallel()
	sources, err := load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range homes {
		for _, module := range h.modules {
			used := slices.ContainsFunc(sources, func(s source) bool {
				return slices.ContainsFunc(s.imports, func(p place) bool { return within(p.text, module) })
			})
			if !used {
				t.Errorf("%s is in the table of outside modules and no package imports it", module)
			}
		}
	}
}

func TestLoadRefusesWhatDoesNotParse(t *testing.T) {
	t.Parallel()
	if _, err := load(fstest.MapFS{"hub/a.go": {Data: []byte("package")}}); err == nil {
		t.Error("no error, want one of the parser")
	}
}

// importing returns a file of a package with its imports, one a line, from line 2 on.
func importing(pkg string, imports ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "package %s\n", pkg)
	for _, path := range imports {
		fmt.Fprintf(&b, "import %q\n", path)
	}
	return b.String()
}

// The server links no package of the laboratory.
func TestServerLinksNoLaboratory(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", module+"/cmd/taskfeed").Output()
	if err != nil {
		t.Fatalf("list the packages that the server links: %v", err)
	}
	for dep := range strings.Lines(string(out)) {
		dep = strings.TrimSpace(dep)
		if ofLab(strings.TrimPrefix(dep, module+"/")) || dep == "testing" || strings.HasPrefix(dep, "github.com/HdrHistogram/") || strings.HasPrefix(dep, "github.com/riverqueue/") {
			t.Errorf("the server links %s, want it only in cmd/taskfeed-lab and in tests", dep)
		}
	}
	if !strings.Contains(string(out), module+"/store\n") {
		t.Error("the list does not have the store, want the packages of the server")
	}
}
