package history

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func create(t *testing.T, dir, name string) *File {
	t.Helper()
	f, err := Create(dir, name)
	if err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
	return f
}

func closeFile(t *testing.T, f *File) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := WriteHeader(dir, Header{Format: 1, Seed: 42, Faults: []string{"kill-leader"}}); err != nil {
		t.Fatalf("write the header: %v", err)
	}
	null := (*string)(nil)
	text := "it's"
	for name, record := range map[string]any{
		"writer-w1.jsonl": Write{Op: "w1.1", Outcome: Info}, "truth.jsonl": Truth{Commit: &Commit{LSN: 1 << 63,
			Rows: []Row{{Table: "tasks", Change: "UPDATE", Columns: map[string]*string{"a": null, "b": &text}}}}},
		"log.jsonl": Event{ID: 1 << 53}, "faults.jsonl": Fault{Name: "kill-leader", Fired: true},
		"resources.jsonl": Resource{Server: "s1"}, "client-c1.jsonl": Client{Kind: Frame, Text: "\x00 é"},
	} {
		f := create(t, dir, name)
		f.Append(record)
		closeFile(t, f)
	}
	if err := os.WriteFile(filepath.Join(dir, "server-s1.log"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := Load(dir)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	if h.Header.Seed != 42 || len(h.Writes) != 1 || len(h.Events) != 1 || len(h.Faults) != 1 || len(h.Resources) != 1 || len(h.Truth) != 1 {
		t.Fatalf("loaded %+v, want one of each", h)
	}
	if got := h.Clients["c1"][0].Text; got != "\x00 é" {
		t.Errorf("a frame came back as %q", got)
	}
	columns := h.Truth[0].Commit.Rows[0].Columns
	if v, ok := columns["a"]; !ok || v != nil {
		t.Errorf("a null came back as %v, there %t", v, ok)
	}
	if got := columns["b"]; got == nil || *got != text {
		t.Errorf("a column came back as %v, want %q", got, text)
	}
	if _, ok := h.Logs["server-s1.log"]; !ok {
		t.Error("the log of the server is not there")
	}
}

// A kill -9 loses the line that was being written, not the history.
func TestTornLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := WriteHeader(dir, Header{Format: 1}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ content, err string }{
		"at the end":    {`{"op":"w1.1"}` + "\n" + `{"op":"w1`, ""},
		"in the middle": {`{"op":"w1` + "\n" + `{"op":"w1.1"}` + "\n", "writer-w1.jsonl:1"},
	} {
		if err := os.WriteFile(filepath.Join(dir, "writer-w1.jsonl"), []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := Load(dir)
		switch {
		case c.err == "" && (err != nil || len(h.Writes) != 1):
			t.Errorf("torn %s: got %v, want one write", name, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("torn %s: got %v, want an error that names %s", name, err, c.err)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	if _, err := Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "has no history") {
		t.Errorf("an empty directory: got %v", err)
	}
	dir := t.TempDir()
	if err := WriteHeader(dir, Header{Format: 2}); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("a later format: got %v", err)
	}
}

// Many goroutines append to one file; no line is torn or mixed.
func TestConcurrentAppend(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := WriteHeader(dir, Header{Format: 1}); err != nil {
		t.Fatal(err)
	}
	f := create(t, dir, "client-c.jsonl")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 50 {
				f.Append(Client{Session: i, T: int64(n), Text: strings.Repeat("x", 100*n)})
			}
		})
	}
	wg.Wait()
	closeFile(t, f)
	h, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(h.Clients["c"]); got != 400 {
		t.Errorf("%d records, want 400", got)
	}
}

func TestCloseTellsOfFailedAppend(t *testing.T) {
	t.Parallel()
	f := create(t, t.TempDir(), "client-c.jsonl")
	f.Append(make(chan int)) // no JSON
	f.Append(Client{})
	if err := f.Close(); err == nil {
		t.Error("a record was lost and Close says nothing")
	}
}

func TestNow(t *testing.T) {
	t.Parallel()
	var moments []int64
	for range 100 {
		moments = append(moments, Now())
	}
	if !slices.IsSorted(moments) || moments[0] <= 0 {
		t.Errorf("moments are not ascending: %v", moments)
	}
}
