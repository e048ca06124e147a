package deploy

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/doctest"
)

// Workflows run commands that exist: targets of the Makefile, packages of this module.
func TestWorkflows(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../.github/workflows/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("look for workflows: got %v, %v, want some", files, err)
	}
	targets := doctest.Submatches(`(?m)^([a-z-]+):`, doctest.Read(t, "Makefile"))
	for _, file := range files {
		name := ".github/workflows/" + filepath.Base(file)
		text := doctest.Read(t, name)
		parse(t, name, text)
		used := doctest.Submatches(`run: make ([a-z][a-z-]*)`, text)
		for _, list := range doctest.Submatches(`target: \[(.*)\]`, text) {
			used = append(used, strings.Split(list, ", ")...)
		}
		for _, target := range used {
			if !slices.Contains(targets, target) {
				t.Errorf("%s runs make %s: got no such target, want one of %v", name, target, targets)
			}
		}
		if !strings.Contains(text, "\npermissions:\n  contents: read\n") {
			t.Errorf("%s: got no permissions for all jobs, want that they only read", name)
		}
	}
}

// The matrix has every version of Postgres that docs/OPERATIONS.md supports.
func TestWorkflowVersions(t *testing.T) {
	t.Parallel()
	workflow := parse(t, "check.yml", doctest.Read(t, ".github/workflows/check.yml"))
	matrix, _ := at(workflow, "jobs.postgres.strategy.matrix.version").([]any)
	if got, want := fmt.Sprint(matrix), "[14 15 16 17 18]"; got != want {
		t.Errorf("versions of PostgreSQL: got %s, want %s", got, want)
	}
	if want := "PostgreSQL 14 or newer"; !strings.Contains(doctest.Section(t, "docs/OPERATIONS.md", "What it needs"), want) {
		t.Errorf("docs/OPERATIONS.md: got no %q, want the oldest version of the matrix", want)
	}
}
