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

// A release is checked first, and has the archives, the image, the chart and the browser
// client, whose package says where its source is, as npm's provenance demands.
func TestReleaseWorkflow(t *testing.T) {
	t.Parallel()
	text := doctest.Read(t, ".github/workflows/release.yml")
	workflow := parse(t, "release.yml", text)
	for path, want := range map[string]any{
		"jobs.check.uses":                   "./.github/workflows/check.yml",
		"jobs.release.needs":                "check",
		"jobs.release.permissions.id-token": "write",
		"jobs.release.permissions.packages": "write",
		"jobs.release.permissions.contents": "write",
	} {
		if got := at(workflow, path); got != want {
			t.Errorf("release.yml, %s: got %v, want %v", path, got, want)
		}
	}
	for _, want := range []string{"make dist", "docker buildx build --push", "helm push", "npm publish --provenance", "gh release create"} {
		if !strings.Contains(text, want) {
			t.Errorf("release.yml: got no %q, want it", want)
		}
	}
	if want := "\n  workflow_call:\n"; !strings.Contains(doctest.Read(t, ".github/workflows/check.yml"), want) {
		t.Errorf("check.yml: got no %q, want that release.yml may call it", want)
	}
	client := parse(t, "package.json", doctest.Read(t, "web/client/package.json"))
	for path, want := range map[string]string{
		"publishConfig.access": "public", "repository.directory": "web/client", "repository.url": "git+https://github.com/taskfeed/taskfeed.git",
	} {
		if got := at(client, path); got != want {
			t.Errorf("package.json, %s: got %v, want %s", path, got, want)
		}
	}
}
