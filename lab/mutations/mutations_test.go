package mutations_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/leaktest"
	"github.com/taskfeed/taskfeed/lab/mutations"
	"github.com/taskfeed/taskfeed/lab/verify/check"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func all(t *testing.T) []mutations.Mutation {
	t.Helper()
	all, err := mutations.All()
	if err != nil {
		t.Fatalf("read the patches: %v", err)
	}
	return all
}

// A mistake that no longer applies to the sources, or does not compile, proves nothing
// about verify. This test shows that with every change of the product.
func TestMutationsApplyAndCompile(t *testing.T) {
	t.Parallel()
	source, err := mutations.Source(t.Context(), ".")
	if err != nil {
		t.Fatal(err)
	}
	mistakes := all(t)
	if len(mistakes) < 32 {
		t.Errorf("got %d mistakes, want 32 at least", len(mistakes))
	}
	compiler := newCompiler(t, source, mistakes)
	for _, m := range mistakes {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := m.Apply(t.Context(), source, dir); err != nil {
				t.Fatal(err)
			}
			for _, name := range m.Files {
				if original, changed := read(t, filepath.Join(source, name)), read(t, filepath.Join(dir, name)); bytes.Equal(original, changed) {
					t.Errorf("%s is unchanged, want a mistake in it", name)
				}
			}
			for _, dirName := range packages(m) {
				if err := compiler.check(dirName, dir, m.Files); err != nil {
					t.Errorf("package %s: %v", dirName, err)
				}
			}
		})
	}
}

// The property that each mistake names exists.
func TestMutationsNameTheirProperty(t *testing.T) {
	t.Parallel()
	known := make(map[string]bool)
	for _, p := range check.Properties {
		known[p.Name] = true
	}
	for _, m := range all(t) {
		if !known[m.Property] {
			t.Errorf("%s breaks %s, which does not exist", m.Name, m.Property)
		}
	}
}

// The error for a directory outside a checkout of taskfeed says what to do.
func TestSourceElsewhere(t *testing.T) {
	t.Parallel()
	if _, err := mutations.Source(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "checkout") {
		t.Errorf("got %v, want an error that asks for a checkout", err)
	}
}

// packages lists the directories of the packages that a mistake changes.
func packages(m mutations.Mutation) []string {
	var dirs []string
	for _, name := range m.Files {
		dirs = append(dirs, path.Dir(name))
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// compiler type-checks packages with the compiler, against the compiled packages that
// they import.
type compiler struct {
	source  string
	files   map[string][]string // of each package, by its directory
	exports map[string]string   // files with a package's types, by its path
}

func newCompiler(t *testing.T, source string, mistakes []mutations.Mutation) *compiler {
	t.Helper()
	c := &compiler{source: source, files: make(map[string][]string), exports: make(map[string]string)}
	args := []string{"list", "-race", "-export", "-deps", "-json=ImportPath,Export,Dir,GoFiles"}
	for _, m := range mistakes {
		for _, dir := range packages(m) {
			args = append(args, "./"+dir)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = source
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Export, Dir string
			GoFiles                 []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return c
		} else if err != nil {
			t.Fatalf("read what go list prints: %v", err)
		}
		c.exports[p.ImportPath] = p.Export
		if dir, ok := strings.CutPrefix(p.ImportPath, mutations.Module+"/"); ok {
			c.files[dir] = p.GoFiles
		}
	}
}

// check compiles a package with the changed files in place of the originals.
func (c *compiler) check(dir, copies string, changed []string) error {
	set := token.NewFileSet()
	var parsed []*ast.File
	for _, base := range c.files[dir] {
		name := path.Join(dir, base)
		from := c.source
		if slices.Contains(changed, name) {
			from = copies
		}
		file, err := parser.ParseFile(set, filepath.Join(from, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		parsed = append(parsed, file)
	}
	if len(parsed) == 0 {
		return fmt.Errorf("%s has no files", dir)
	}
	open := func(path string) (io.ReadCloser, error) { return os.Open(c.exports[path]) }
	conf := types.Config{Importer: importer.ForCompiler(set, "gc", open)}
	_, err := conf.Check(mutations.Module+"/"+dir, set, parsed, nil)
	return err
}
