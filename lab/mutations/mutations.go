// Package mutations contains mistakes that verify must catch: each file NAME.patch is
// one, as a patch of the product's sources.
//
// The product contains none of them. A mistake is applied to copies of the files that
// it changes, and a server is built with the copies in their place ("go build
// -overlay"), so the checkout does not change. This needs a checkout of taskfeed, Go
// and git.
//
// A patch begins with a sentence that says what goes wrong. Then come the property that
// verify must find broken ("Breaks:") and the faults under which it must ("Under:"), by
// their names in packages check and verify.
package mutations

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

//go:embed *.patch
var patches embed.FS

// Module is the path of the module that the patches are made for.
const Module = "github.com/taskfeed/taskfeed"

// Mutation is one mistake.
type Mutation struct {
	Name     string
	Says     string   // what goes wrong
	Property string   // must be found broken
	Faults   []string // to run
	Files    []string // changed files, relative to the root of the checkout
}

var (
	field    = regexp.MustCompile(`(?m)^(Breaks|Under): (.*)$`)
	fileLine = regexp.MustCompile(`(?m)^\+\+\+ b/(.*)$`)
)

// All lists the mistakes by name. An error names an incomplete patch.
func All() ([]Mutation, error) {
	names, err := fs.Glob(patches, "*.patch")
	if err != nil {
		return nil, err
	}
	all := make([]Mutation, len(names))
	for i, name := range names {
		if all[i], err = read(strings.TrimSuffix(name, ".patch")); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func read(name string) (Mutation, error) {
	text, err := fs.ReadFile(patches, name+".patch")
	if err != nil {
		return Mutation{}, err
	}
	says, _, _ := strings.Cut(string(text), ".\n")
	m := Mutation{Name: name, Says: says}
	for _, match := range field.FindAllStringSubmatch(string(text), -1) {
		switch match[1] {
		case "Breaks":
			m.Property = match[2]
		case "Under":
			m.Faults = strings.Split(match[2], ", ")
		}
	}
	for _, match := range fileLine.FindAllStringSubmatch(string(text), -1) {
		m.Files = append(m.Files, match[1])
	}
	if m.Says == "" || m.Property == "" || len(m.Faults) == 0 || len(m.Files) == 0 {
		return m, fmt.Errorf("%s.patch lacks its sentence, its property, its faults, or changes no file", name)
	}
	return m, nil
}

// Source returns the root of the checkout of taskfeed that contains dir.
func Source(ctx context.Context, dir string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Path}} {{.Dir}}")
	cmd.Dir = dir
	out, err := cmd.Output()
	path, root, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if err != nil || path != Module {
		return "", errors.New("mistakes are applied to the sources of taskfeed: run this in a checkout of it, with Go installed")
	}
	return root, nil
}

// Apply applies the mistake to copies of the files of the checkout source. The copies
// are below dir, at the same relative paths.
func (m *Mutation) Apply(ctx context.Context, source, dir string) error {
	for _, name := range m.Files {
		text, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return err
		}
	}
	patch, err := fs.ReadFile(patches, m.Name+".patch")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "git", "apply", "--whitespace=nowarn", "-")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(patch)
	cmd.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir)) // dir may be in a checkout
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s.patch no longer fits the sources: %w\n%s", m.Name, err, out)
	}
	return nil
}

// Build builds a server with the mistake from the checkout source and returns its
// path, which is below dir.
func (m *Mutation) Build(ctx context.Context, source, dir string) (binary string, err error) {
	copies := filepath.Join(dir, "src")
	if err := os.MkdirAll(copies, 0o700); err != nil {
		return "", err
	}
	if err := m.Apply(ctx, source, copies); err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := m.writeOverlay(overlay, source, copies); err != nil {
		return "", err
	}
	binary = filepath.Join(dir, "taskfeed")
	cmd := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-o", binary, "./cmd/taskfeed")
	cmd.Dir = source
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build with %s: %w\n%s", m.Name, err, out)
	}
	return binary, nil
}

// writeOverlay writes the overlay file that maps originals to copies; see "go help
// build".
func (m *Mutation) writeOverlay(file, source, copies string) error {
	replace := make(map[string]string, len(m.Files))
	for _, name := range m.Files {
		replace[filepath.Join(source, name)] = filepath.Join(copies, name)
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}
