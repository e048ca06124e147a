package check

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/leaktest"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var update = flag.Bool("update", false, "write the golden files anew")

// Each hand-written history has the expected verdict: valid ones pass, and each invalid
// one violates exactly the property that it is for.
func TestHistories(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 30 {
		t.Fatalf("found %d histories, want 30 at least (%v)", len(files), err)
	}
	caught := make(map[string]bool)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		want := wanted(t, file)
		caught[want] = true
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := Run(load(t, name))
			var got []string
			for _, p := range Properties {
				if r.Counts[p.Name] > 0 {
					got = append(got, p.Name)
				}
			}
			if want == "pass" && r.Verdict != Pass || want != "pass" && !slices.Equal(got, []string{want}) {
				t.Errorf("verdict %s, broken %v, want %s\n%v", r.Verdict, got, want, texts(r))
			}
			if verdict := verdictFor(want); r.Verdict != verdict {
				t.Errorf("verdict %s, want %s", r.Verdict, verdict)
			}
		})
	}
	for _, p := range Properties {
		if !caught[p.Name] {
			t.Errorf("no hand-written history breaks %s", p.Name)
		}
	}
}

func verdictFor(want string) Verdict {
	switch want {
	case "pass":
		return Pass
	case "P14":
		return Invalid
	}
	return Fail
}

func texts(r Report) string {
	var b strings.Builder
	for _, v := range r.Violations {
		b.WriteString(v.Property + ": " + v.What + "\n")
	}
	return b.String()
}

// The story of a failure has the op, the rows, the frames and the faults around
// it, and the command that repeats it.
func TestStory(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"p02-hole", "p06-canary-in-a-refusal", "p09-id-used-again"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := Run(load(t, name))
			if len(r.Stories) == 0 {
				t.Fatal("there is no story")
			}
			got := strings.Join(r.Stories[0].Lines, "\n") + "\n"
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// wanted returns the expected verdict from the first line of a history.
func wanted(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	if want, ok := strings.CutPrefix(line, "want "); ok {
		return want
	}
	return "pass"
}

// load makes a history from a hand-written file: good.txt as it is, any other file as a
// list of edits to it. In a section, "- text" removes the lines that contain the text,
// "~ old => new" replaces in all lines, and "+ line" adds a line at the end or after the
// line that the last "@ text" found.
func load(t *testing.T, name string) *history.History {
	t.Helper()
	files := make(map[string][]string)
	for file, lines := range sections(t, "good") {
		files[file] = lines
	}
	if name != "good" {
		for file, edits := range sections(t, name) {
			files[file] = edit(t, files[file], edits)
		}
	}
	dir := t.TempDir()
	for file, lines := range files {
		content := ""
		for _, line := range lines {
			content += line + "\n"
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h, err := history.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func sections(t *testing.T, name string) map[string][]string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	files, file := make(map[string][]string), ""
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSuffix(line, "\n")
		if next, ok := strings.CutPrefix(line, "== "); ok {
			file = next
		} else if file != "" {
			files[file] = append(files[file], line)
		}
	}
	return files
}

func edit(t *testing.T, lines, edits []string) []string {
	t.Helper()
	lines = slices.Clone(lines)
	at := -1 // where the next line goes; -1: at the end
	for _, e := range edits {
		do, text, _ := strings.Cut(e, " ")
		matches := func(line string) bool { return strings.Contains(line, text) }
		before := len(lines)
		switch do {
		case "-":
			if lines = slices.DeleteFunc(lines, matches); len(lines) == before {
				t.Fatalf("no line holds %q", text)
			}
		case "@":
			if at = slices.IndexFunc(lines, matches) + 1; at == 0 {
				t.Fatalf("no line holds %q", text)
			}
		case "+":
			if at < 0 {
				lines = append(lines, text)
			} else {
				lines = slices.Insert(lines, at, text)
				at++
			}
		case "~":
			lines = replace(t, lines, text)
		default:
			t.Fatalf("what is the edit %q?", e)
		}
	}
	return lines
}

func replace(t *testing.T, lines []string, text string) []string {
	t.Helper()
	old, new, ok := strings.Cut(text, " => ")
	if !ok || !strings.Contains(strings.Join(lines, "\n"), old) {
		t.Fatalf("nothing to replace for %q", text)
	}
	for i := range lines {
		lines[i] = strings.ReplaceAll(lines[i], old, new)
	}
	return lines
}
