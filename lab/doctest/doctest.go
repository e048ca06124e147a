// Package doctest reads tables and sections of the project's Markdown files, for tests
// that compare documents with the code.
package doctest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/checkout"
)

// Read returns a file of the checkout.
func Read(t testing.TB, name string) string {
	t.Helper()
	root, err := checkout.Root()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	return string(b)
}

// Section returns the text of a document from a heading to the next heading of that
// level.
func Section(t testing.TB, document, heading string) string {
	t.Helper()
	_, text, ok := strings.Cut(Read(t, document), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", document, heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// Rows returns the cells of the table rows in a text whose first cell is code.
func Rows(text string) [][]string {
	var rows [][]string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i, cell := range cells {
			cells[i] = strings.TrimSpace(cell)
		}
		rows = append(rows, cells)
	}
	return rows
}

// Same fails the test for every entry that is in only one of the lists.
func Same(t testing.TB, what string, documented, real []string) {
	t.Helper()
	for _, s := range documented {
		if !slices.Contains(real, s) {
			t.Errorf("%s: the document has %s, the program has not", what, s)
		}
	}
	for _, s := range real {
		if !slices.Contains(documented, s) {
			t.Errorf("%s: the program has %s, the document has not", what, s)
		}
	}
}

// Submatches returns the first group of every match.
func Submatches(pattern, text string) []string {
	var found []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	return found
}
