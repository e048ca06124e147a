package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/taskfeed/taskfeed/lab/doctest"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// These tests compare the documents with the program: their tables of settings, metrics,
// codes and tests with the code.

// documents lists the Markdown files about the program.
func documents(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		found, err := filepath.Glob(filepath.Join(top, pattern))
		if err != nil {
			t.Fatalf("list documents: %v", err)
		}
		for _, name := range found {
			names = append(names, strings.TrimPrefix(filepath.ToSlash(name), top+"/"))
		}
	}
	return names
}

func TestDocumentedSettings(t *testing.T) {
	t.Parallel()
	row := func(env, flag, byDef string) string { return fmt.Sprintf("| %s | %s | %s |", env, flag, byDef) }
	var documented, real []string
	for _, cells := range doctest.Rows(doctest.Section(t, "docs/OPERATIONS.md", "Settings")) {
		if len(cells) == 4 {
			documented = append(documented, row(cells[0], cells[1], cells[2]))
		}
	}
	var cfg config
	for _, s := range cfg.serveSettings() {
		byDef := "–"
		if s.byDef != "" {
			byDef = "`" + s.byDef + "`"
		}
		flag := "`--" + s.flag() + "`"
		if s.private("") {
			flag = "–"
		}
		real = append(real, row("`"+s.env+"`", flag, byDef))
	}
	doctest.Same(t, "settings in docs/OPERATIONS.md", documented, real)
}

// Every setting that a document names exists.
func TestDocumentsNameKnownSettings(t *testing.T) {
	t.Parallel()
	var cfg config
	name := regexp.MustCompile(`\bTASKFEED_[A-Z_]*[A-Z]\b`)
	for _, document := range documents(t) {
		var environ []string
		for _, s := range name.FindAllString(doctest.Read(t, document), -1) {
			environ = append(environ, s+"=")
		}
		for _, s := range unknown(environ, cfg.serveSettings()) {
			t.Errorf("%s names %s: got a setting that does not exist, want one that does", document, s)
		}
	}
}

func TestDocumentedMetrics(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.New(t)
	pgtest.Exec(t, dbURL, `CREATE TABLE public.exports (id bigint PRIMARY KEY, user_id text, status text); SELECT taskfeed.attach('public.exports', 'exports', '{}');
		INSERT INTO taskfeed.forwards (name, cursor) VALUES ('crm', 0)`)
	s := startServing(t, dbURL, "TASKFEED_INBOX=on", "TASKFEED_INBOX_TOPICS=cancel")
	if err := dialPlain(t, s, "alice").WriteMessage(websocket.TextMessage, []byte(`{"type":"message"}`)); err != nil {
		t.Fatal(err)
	}
	url := "ws" + strings.TrimPrefix(s.base, "http") + "/ws/alice?token=forged"
	conn, _, err := websocket.DefaultDialer.DialContext(t.Context(), url, nil)
	if err != nil {
		t.Fatalf("connect with a forged token: %v", err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, 4001) {
		t.Fatalf("forged token: got %v, want close code 4001", err)
	}
	conn.Close()

	var real []string
	kind := regexp.MustCompile(`(?m)^# TYPE ((?:taskfeed|websocket)_\w+) (\w+)$`)
	// Vectors appear with their first value, and the database's metrics once it has
	// answered.
	eventually(t, "all metrics are there", 20*time.Second, func() bool {
		_, body := get(t, s.base+"/metrics")
		real = nil
		for _, m := range kind.FindAllStringSubmatch(body, -1) {
			real = append(real, "`"+m[1]+"` "+m[2])
		}
		return strings.Contains(body, "\ntaskfeed_closes_total{") && strings.Contains(body, "\ntaskfeed_buffer_depth ") && strings.Contains(body, "\ntaskfeed_source_ok{") &&
			strings.Contains(body, "\ntaskfeed_inbox_messages_total{") && strings.Contains(body, "\ntaskfeed_forward_works{")
	})
	var documented []string
	for _, cells := range doctest.Rows(doctest.Section(t, "docs/OPERATIONS.md", "Metrics")) {
		documented = append(documented, cells[0]+" "+cells[1])
	}
	doctest.Same(t, "metrics in docs/OPERATIONS.md", documented, real)
}

func TestDocumentedHealthChecks(t *testing.T) {
	t.Parallel()
	s := startServing(t, pgtest.New(t))
	status, body := get(t, s.base+"/readyz?verbose")
	if status != http.StatusOK {
		t.Fatalf("/readyz: got %d %s, want 200", status, body)
	}
	text := doctest.Section(t, "docs/OPERATIONS.md", "Health")
	names := regexp.MustCompile(`"name":"(\w+)"`).FindAllStringSubmatch(body, -1)
	if len(names) == 0 {
		t.Fatalf("/readyz?verbose: got %s, want checks with names", body)
	}
	for _, m := range names {
		if !strings.Contains(text, "`"+m[1]+"`") {
			t.Errorf("docs/OPERATIONS.md, Health: got no word of the check %s, want one", m[1])
		}
	}
}

// Problem documents link to a heading for their code.
func TestDocumentedErrorCodes(t *testing.T) {
	t.Parallel()
	doctest.Same(t, "error codes in docs/PROTOCOL.md",
		doctest.Submatches(`(?m)^#### (\w+)$`, doctest.Read(t, "docs/PROTOCOL.md")),
		doctest.Submatches(`(?m)^\tCode\w+ +Code = "(\w+)"`, doctest.Read(t, "errors.go")))
}

func TestDocumentedCloseCodes(t *testing.T) {
	t.Parallel()
	var documented []string
	for line := range strings.Lines(doctest.Section(t, "docs/PROTOCOL.md", "Close codes")) {
		if cells := strings.Split(line, "|"); len(cells) > 1 {
			documented = append(documented, doctest.Submatches(`\b(\d{4})\b`, cells[1])...)
		}
	}
	real := doctest.Submatches(`(?m)^\tClose\w+ += (\d{4})\b`, doctest.Read(t, "internal/wsframe/header.go")+doctest.Read(t, "protocol.go"))
	// Only peers send 1000 and 1001, 1005 stands for an empty close frame, 4500 begins a range.
	real = append(slices.DeleteFunc(real, func(s string) bool { return s == "1005" || s == "4500" }), "1000", "1001")
	doctest.Same(t, "close codes in docs/PROTOCOL.md", documented, real)
}

func TestDocumentedEventTypes(t *testing.T) {
	t.Parallel()
	_, table, _ := strings.Cut(doctest.Section(t, "docs/PROTOCOL.md", "Frames"), "\nAn event of a status ")
	doctest.Same(t, "types of events in docs/PROTOCOL.md",
		doctest.Submatches("(?m)^\\| `(task_\\w+)` \\|", table),
		doctest.Submatches(`(?m)^\tTypeTask\w+ +Type = "(task_\w+)"`, doctest.Read(t, "event.go")))
}

// Every promise names tests, and every test that is named exists.
func TestPromisesNameTheirTests(t *testing.T) {
	t.Parallel()
	promises := strings.Split(doctest.Read(t, "docs/PROMISES.md"), "\n## ")[1:]
	if got, want := len(promises), 8; got < want {
		t.Errorf("docs/PROMISES.md: got %d sections, want the %d promises", got, want)
	}
	line := regexp.MustCompile("(?m)^- `([\\w/]+)`: (.+)$")
	for _, promise := range promises {
		title, text, _ := strings.Cut(promise, "\n")
		lines := line.FindAllStringSubmatch(text, -1)
		if len(lines) == 0 {
			t.Errorf("promise %q: got no tests, want some, written as - `package`: `TestName`", title)
		}
		for _, m := range lines {
			names := doctest.Submatches("`((?:Test|Fuzz|Example)[^`]*)`", m[2])
			if len(names) == 0 {
				t.Errorf("promise %q: got no tests of package %s, want some", title, m[1])
			}
			for _, name := range names {
				wantTest(t, title, m[1], name)
			}
		}
	}
}

// The list of bad input is complete, and every row names tests that exist, one of them
// in a file that mentions the row's number.
func TestBadInputNamesItsTests(t *testing.T) {
	t.Parallel()
	const rows = 76 // at least; later ones stand where they belong, in any order
	row := regexp.MustCompile(`(?m)^\| (\d+) \| (.+) \| (.+) \| (.+) \|$`)
	found := row.FindAllStringSubmatch(doctest.Read(t, "docs/BAD-INPUT.md"), -1)
	seen := make(map[string]bool)
	for _, m := range found {
		number := m[1]
		if seen[number] {
			t.Errorf("docs/BAD-INPUT.md: got row %s twice, want a number for each row", number)
		}
		seen[number] = true
		numbered := false
		for _, tests := range regexp.MustCompile("`([\\w/]+)`: ([^;]+)").FindAllStringSubmatch(m[4], -1) {
			for _, name := range doctest.Submatches("`((?:Test|Fuzz)[^`]*)`", tests[2]) {
				wantTest(t, "bad input "+number, tests[1], name)
				numbered = numbered || testFileHas(t, tests[1], name, regexp.MustCompile(`(?i)bad ?input ?`+number+`\b|BadInput`+number+`[A-Z]|bad input [\d, and]*\b`+number+`\b`))
			}
		}
		if !numbered {
			t.Errorf("bad input %s: got no test with that number among %s, want one", number, m[4])
		}
	}
	for i := range rows {
		if number := fmt.Sprint(i + 1); !seen[number] {
			t.Errorf("docs/BAD-INPUT.md: got no row %s, want it", number)
		}
	}
}

// Every fuzz target is listed with its package, has a corpus, and runs in make fuzz.
func TestFuzzTargetsAreListed(t *testing.T) {
	t.Parallel()
	var real []string
	err := filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		dir := filepath.Dir(path)
		for _, target := range doctest.Submatches(`(?m)^func (Fuzz\w+)\(`, string(b)) {
			pkg, err := filepath.Rel(top, dir)
			if err != nil {
				return err
			}
			real = append(real, filepath.ToSlash(pkg)+" "+target)
			if corpus, _ := filepath.Glob(filepath.Join(dir, "testdata/fuzz", target, "*")); len(corpus) == 0 { // the pattern is good
				t.Errorf("%s in %s: got no corpus, want one in testdata/fuzz/%s", target, pkg, target)
			}
		}
		return err
	})
	if err != nil {
		t.Fatalf("look for fuzz targets: %v", err)
	}
	_, text, _ := strings.Cut(doctest.Read(t, "CONTRIBUTING.md"), "The targets are in\n")
	text, _, _ = strings.Cut(text, "\n- ")
	var documented []string
	for _, m := range regexp.MustCompile("`([\\w./]+)`: ([^;]+)").FindAllStringSubmatch(text, -1) {
		for _, target := range doctest.Submatches("`(Fuzz\\w+)`", m[2]) {
			documented = append(documented, m[1]+" "+target)
		}
	}
	doctest.Same(t, "fuzz targets in CONTRIBUTING.md", documented, real)
}

// testFileHas reports whether the file of a test has a text.
func testFileHas(t *testing.T, pkg, test string, text *regexp.Regexp) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(top, pkg, "*_test.go"))
	if err != nil {
		t.Fatalf("list tests of %s: %v", pkg, err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		b, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(b), "\nfunc "+test+"(") && text.Match(b)
	})
}

// wantTest checks that a package has a test, named as TestName or TestName/subtest.
func wantTest(t *testing.T, promise, pkg, name string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(top, pkg, "*_test.go"))
	if err != nil {
		t.Fatalf("list tests of %s: %v", pkg, err)
	}
	function, subtest, _ := strings.Cut(name, "/")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatalf("read tests of %s: %v", pkg, err)
		}
		if text := string(b); strings.Contains(text, "\nfunc "+function+"(") && strings.Contains(text, subtest) {
			return
		}
	}
	t.Errorf("promise %q names %s in %s: got no such test, want one", promise, name, pkg)
}

// Links between documents have existing targets.
func TestDocumentLinks(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)|srcset="([^"]+)"|src="([^"]+)"`)
	for _, document := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(doctest.Read(t, document), -1) {
			target := m[1] + m[2] + m[3]
			if strings.Contains(target, "://") || target == "BENCHMARKS.md" || target == "docs/BENCHMARKS.md" {
				continue // another site's, or made by make bench
			}
			file, anchor, _ := strings.Cut(target, "#")
			file = filepath.Join(filepath.Dir(document), file)
			if strings.HasPrefix(target, "#") {
				file = document
			}
			if _, err := os.Stat(filepath.Join(top, file)); err != nil {
				t.Errorf("%s links to %s: got no such file, want one", document, target)
			} else if anchor != "" && !slices.Contains(anchors(doctest.Read(t, file)), anchor) {
				t.Errorf("%s links to %s: got no such heading, want one", document, target)
			}
		}
	}
}

// anchors returns the anchors of a document's headings, as GitHub makes them.
func anchors(text string) []string {
	drop := regexp.MustCompile(`[^\w\s-]`)
	var found []string
	for _, heading := range doctest.Submatches(`(?m)^#+ (.+)$`, text) {
		heading = strings.ToLower(drop.ReplaceAllString(heading, ""))
		found = append(found, strings.ReplaceAll(heading, " ", "-"))
	}
	return found
}

// The index has every document.
func TestIndexOfDocuments(t *testing.T) {
	t.Parallel()
	index := doctest.Read(t, "docs/README.md")
	for _, document := range documents(t) {
		name, below := strings.CutPrefix(document, "docs/")
		if !below {
			name = "../" + document
		}
		if name != "README.md" && name != "../CODE_OF_CONDUCT.md" && !strings.Contains(index, "]("+name+")") {
			t.Errorf("docs/README.md: got no link to %s, want one", name)
		}
	}
}
