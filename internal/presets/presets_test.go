package presets_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/internal/presets"
	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var update = flag.Bool("update", false, "write the pages of docs/attach")

// Each preset has a page, and what it says is what the preset does.
func TestPages(t *testing.T) {
	t.Parallel()
	for _, p := range presets.All {
		name := filepath.Join("../../docs/attach", p.Name+".md")
		want := page(t, p)
		if *update {
			if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(name)
		if err != nil || string(got) != want {
			t.Errorf("%s is not what the preset says (%v): run go test ./internal/presets -update", name, err)
		}
	}
}

// page is the page about a preset.
func page(t *testing.T, p presets.Preset) string {
	t.Helper()
	m, err := p.Mapping(p.Schema, []string{"source_id", "job_class", "meta", "attributes", "parent_workflow_id", "enqueued_at"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Attach %s\n\n", p.Library)
	fmt.Fprintf(&b, "    taskfeed attach %s --user \"%s\" --dry-run\n\n", p.Name, p.Owners[0])
	fmt.Fprintf(&b, "The rows of `%s` in the schema `%s`, or in the one that `--schema` names, become tasks. Your app and %s stay as they are. [ATTACH.md](../ATTACH.md) explains the command.\n\n", p.Table, p.Schema, p.Library)
	fmt.Fprintf(&b, "This was written for version %s of its schema, which `attach` and `taskfeed doctor` read from %s. They say so when it has another one.\n\n", p.Versions, p.Versions.Where)
	b.WriteString("**Owner.** ")
	if m["user"] != nil {
		fmt.Fprintf(&b, "`%s`, unless `--user` says otherwise. ", m["user"])
	} else {
		fmt.Fprintf(&b, "%s does not know whose a job is, so say it by `--user`. ", p.Library)
	}
	b.WriteString("For example `" + strings.Join(p.Owners, "`, `") + "`. The value must be the `sub` of the user's token.\n\n")
	pageStatus(&b, p, m)
	if len(p.Options()) > 0 {
		fmt.Fprintf(&b, "**Off unless named**, because users may see what they should not, or because it takes more rights: `--with %s`.\n\n", strings.Join(p.Options(), ","))
	}
	if when, ok := m["when"].(string); ok {
		fmt.Fprintf(&b, "**Left out** are rows for which this is not true: `%s`. A `--when` of yours is joined to it.\n\n", when)
	}
	b.WriteString("**Know that**\n\n")
	for _, note := range p.Notes {
		if !strings.HasPrefix(note, p.Library) {
			note = strings.ToUpper(note[:1]) + note[1:]
		}
		fmt.Fprintf(&b, "- %s.\n", note)
	}
	fmt.Fprintf(&b, "\n**Undo.** `taskfeed detach %s` leaves the table as it was. With `--tasks delete`, its tasks are deleted and their users told.\n", p.Source())
	return b.String()
}

func pageStatus(b *strings.Builder, p presets.Preset, m map[string]any) {
	if statuses, ok := m["map"].(map[string]any); ok {
		fmt.Fprintf(b, "| `%s` | task |\n|---|---|\n", m["status"])
		for _, value := range slices.Sorted(maps.Keys(statuses)) {
			fmt.Fprintf(b, "| `%s` | %s |\n", value, statuses[value])
		}
		b.WriteString("\n")
	} else {
		fmt.Fprintf(b, "%s has no column for the status; it follows from others:\n\n```sql\n%s\n```\n\n", p.Library, strings.ReplaceAll(m["status"].(string), " WHEN", "\n  WHEN"))
	}
	rule, ok := m["on_delete"].(map[string]any)
	if !ok {
		b.WriteString("**A row is deleted**: an open task is deleted, one that ended stays.\n\n")
		return
	}
	fmt.Fprintf(b, "**A row is deleted**: a queued task is %s, a running one %s, and one that ended stays: the library only cleans up.\n\n", rule["queued"], rule["running"])
}

// A mapping has only keys that attach takes, and every expression reads the row r.
func TestMappings(t *testing.T) {
	t.Parallel()
	for _, p := range presets.All {
		for _, option := range p.Options() {
			m, err := p.Mapping("public", nil, []string{option})
			if err != nil || m[option] == nil {
				t.Errorf("%s with %s: %v (%v)", p.Name, option, m, err)
			}
		}
		if _, err := p.Mapping("public", nil, []string{"secrets"}); err == nil {
			t.Errorf("%s takes an option that it does not have", p.Name)
		}
		if found, ok := presets.Find(p.Name); !ok || found.Table != p.Table || !p.Owns(p.Table, p.Has) || p.Owns(p.Table, nil) || p.Owns("other", p.Has) {
			t.Errorf("%s is not found by its name, or by its table", p.Name)
		}
		if v := p.Versions; !v.Known(v.Min) || !v.Known(v.Max) || v.Known(v.Max+1) || v.Known(0) {
			t.Errorf("%s knows versions beyond %v", p.Name, v)
		}
	}
	if !slices.IsSortedFunc(presets.All, func(a, b presets.Preset) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the presets are not in the order of their names")
	}
}

func TestAnd(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]string{{"a", "", "a"}, {"", "b", "b"}, {"a OR b", "c", "(a OR b) AND (c)"}} {
		if got := presets.And(c[0], c[1]); got != c[2] {
			t.Errorf("%q and %q: got %q, want %q", c[0], c[1], got, c[2])
		}
	}
}
