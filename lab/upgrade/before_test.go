package upgrade

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/checkout"
)

// version is what the server of the sources at hand calls itself.
const version = "at-hand"

// programs are the servers of both versions.
type programs struct {
	before, now string // binaries
	from        string // the version before, as its server calls itself
	same        bool   // both have the same schema
}

// buildBoth builds both programs.
func buildBoth(t *testing.T) programs {
	t.Helper()
	root, err := checkout.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := programs{before: filepath.Join(dir, "before"), now: filepath.Join(dir, "now")}
	if err := build(t.Context(), root, p.now, version); err != nil {
		t.Fatal(err)
	}
	sources := filepath.Join(dir, "sources")
	if p.from, err = before(t.Context(), root, sources); err != nil {
		t.Logf("two builds of the sources at hand stand in for two versions: %v", err)
		p.from, p.same, sources = "stand-in", true, root
	}
	if err := build(t.Context(), sources, p.before, p.from); err != nil {
		t.Fatal(err)
	}
	if !p.same {
		p.same = countMigrations(t, root) == countMigrations(t, sources)
	}
	t.Logf("the version before is %s", p.from)
	return p
}

func build(ctx context.Context, dir, binary, version string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-ldflags=-X github.com/taskfeed/taskfeed/internal/cli.version="+version, "-o", binary, "./cmd/taskfeed")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build taskfeed in %s: %w\n%s", dir, err, out)
	}
	return nil
}

func countMigrations(t *testing.T, dir string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "migrations", "*.sql"))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// before writes the sources of the version before into a directory and returns the
// name of the version.
func before(ctx context.Context, root, dir string) (name string, err error) {
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = root
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
	if name, err = run("describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD"); err != nil {
		if name, err = run("rev-parse", "--short", "HEAD~1"); err != nil {
			return "", errors.New("this checkout has neither a tag nor the commit before; a shallow clone needs fetch-depth: 0")
		}
	}
	changed, err := run("diff", "--name-only", "--diff-filter=a", name, "--", "migrations/*.sql")
	if err != nil || changed != "" {
		return "", fmt.Errorf("migrations of %s are not those of the sources at hand: %s", name, strings.Fields(changed))
	}
	archive := exec.CommandContext(ctx, "git", "archive", "--format=tar", name)
	archive.Dir = root
	files, err := archive.Output()
	if err != nil {
		return "", fmt.Errorf("read the sources of %s: %w", name, err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	unpack := exec.CommandContext(ctx, "tar", "-x", "-C", dir)
	unpack.Stdin = bytes.NewReader(files)
	if out, err := unpack.CombinedOutput(); err != nil {
		return "", fmt.Errorf("unpack the sources of %s: %w: %s", name, err, out)
	}
	return name, nil
}
