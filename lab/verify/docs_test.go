package verify_test

import (
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/doctest"
	"github.com/taskfeed/taskfeed/lab/mutations"
	"github.com/taskfeed/taskfeed/lab/verify"
)

// The document lists exactly the mistakes in lab/mutations, each with the property that
// catches it and the command that shows it.
func TestDocumentedMutations(t *testing.T) {
	t.Parallel()
	var documented, real []string
	for _, cells := range doctest.Rows(doctest.Section(t, "docs/PROMISES.md", "How this is proved")) {
		if len(cells) == 4 {
			documented = append(documented, strings.Join(cells, " | "))
		}
	}
	all, err := mutations.All()
	if err != nil {
		t.Fatalf("read the mistakes: %v", err)
	}
	for _, m := range all {
		real = append(real, strings.Join([]string{"`" + m.Name + "`", m.Says, m.Property, "`" + verify.MutationCommand(m.Name) + "`"}, " | "))
	}
	doctest.Same(t, "mistakes in docs/PROMISES.md", documented, real)
}

// The faults that a mistake names exist.
func TestMutationsNameTheirFaults(t *testing.T) {
	t.Parallel()
	known := make(map[string]bool)
	for _, f := range verify.Faults() {
		known[f.Name] = true
	}
	all, err := mutations.All()
	if err != nil {
		t.Fatalf("read the mistakes: %v", err)
	}
	for _, m := range all {
		for _, name := range m.Faults {
			if !known[name] {
				t.Errorf("%s names the fault %s, which does not exist", m.Name, name)
			}
		}
	}
}

// The document lists the failures that are not tried, and why.
func TestDocumentedNotRun(t *testing.T) {
	t.Parallel()
	var documented, real []string
	for line := range strings.Lines(doctest.Section(t, "docs/PROMISES.md", "How this is proved")) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "- not run: "); ok {
			documented = append(documented, text)
		}
	}
	for _, row := range verify.Rows {
		if row.NotRun != "" {
			real = append(real, row.Says+": "+row.NotRun)
		}
	}
	doctest.Same(t, "what docs/PROMISES.md says is not run", documented, real)
}
