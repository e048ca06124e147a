package devpg

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// openDir returns a new directory that every user can enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "devpg-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// script writes an executable shell script and makes its directory.
func script(t *testing.T, path, body string) {
	t.Helper()
	if err := mkdirAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	syscall.ForkLock.RLock() // see writeFile
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

// install writes programs to dir that only print their version.
func install(t *testing.T, dir, version string) string {
	t.Helper()
	script(t, filepath.Join(dir, "initdb"), "exit 1")
	script(t, filepath.Join(dir, "postgres"), fmt.Sprintf("echo 'postgres (PostgreSQL) %s'", version))
	return dir
}

// nowhere returns a finder without a place to search and without a package.
func nowhere(t *testing.T) *finder {
	t.Helper()
	a, err := findAccount("")
	if err != nil {
		t.Fatal(err)
	}
	return &finder{account: a, npm: npm{platform: "plan9-mips", progress: func(string) {}}}
}

func TestFindPrefersWhatIsNamedFirst(t *testing.T) {
	t.Parallel()
	root := openDir(t)
	explicit := install(t, filepath.Join(root, "explicit"), "14.1")
	onPath := install(t, filepath.Join(root, "onpath"), "15.1")
	configured := install(t, filepath.Join(root, "configured"), "16.1")
	for _, version := range []string{"9.6", "16", "17", "8.4"} {
		install(t, filepath.Join(root, "lib", version, "bin"), version)
	}
	install(t, filepath.Join(root, "brew", "postgresql@18", "bin"), "18beta1")

	links := filepath.Join(root, "links") // as /usr/local/bin often is
	if err := os.Mkdir(links, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(onPath, "initdb"), filepath.Join(links, "initdb")); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(root, "config")
	script(t, filepath.Join(config, "pg_config"), "echo "+configured)

	f := nowhere(t)
	f.explicit = explicit
	f.path = links + ":" + config
	f.globs = []string{filepath.Join(root, "lib", "*", "bin"), filepath.Join(root, "brew", "postgresql@*", "bin")}
	for _, step := range []struct {
		want, version string
		remove        func() // so that the next is found
	}{
		{explicit, "14.1", func() { f.explicit = "" }},
		{onPath, "15.1", func() { f.path = config }},
		{configured, "16.1", func() { f.path = "" }},
		{filepath.Join(root, "lib", "17", "bin"), "17", func() { install(t, filepath.Join(root, "lib", "17", "bin"), "13.9") }},
		{filepath.Join(root, "lib", "16", "bin"), "16", func() { f.globs = f.globs[1:] }},
		{filepath.Join(root, "brew", "postgresql@18", "bin"), "18beta1", func() { f.globs = nil }},
	} {
		got, err := f.find(t.Context())
		if err != nil {
			t.Fatalf("want %s, got error %v", step.want, err)
		}
		if got.dir != step.want || got.version != step.version {
			t.Errorf("found %s, version %s; want %s, version %s", got.dir, got.version, step.want, step.version)
		}
		step.remove()
	}
	if got, err := f.find(t.Context()); err == nil {
		t.Errorf("found %v, want nothing", got)
	}
}

func TestNewestFirst(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, name := range []string{"9.6", "10", "15", "9.10", "latest", "14"} {
		if err := os.MkdirAll(filepath.Join(root, name, "bin"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, dir := range newestFirst(filepath.Join(root, "*", "bin")) {
		got = append(got, filepath.Base(filepath.Dir(dir)))
	}
	if want := []string{"15", "14", "10", "9.6", "9.10"}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

func TestFindNothing(t *testing.T) {
	t.Parallel()
	f := nowhere(t)
	old := install(t, filepath.Join(openDir(t), "13"), "13.9")
	f.globs = []string{filepath.Join(filepath.Dir(old), "*")}
	_, err := f.find(t.Context())
	if !errors.Is(err, ErrNoBinaries) {
		t.Fatalf("error %v, want ErrNoBinaries", err)
	}
	for _, want := range []string{"sudo apt-get install postgresql", "brew install postgresql@17", "TASKFEED_PG_BIN", "DATABASE_URL",
		old + ": PostgreSQL 13.9 is too old", "no Postgres package for plan9-mips"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the message does not say %q:\n%v", want, err)
		}
	}
}

// A directory that is named explicitly is used or refused; there is no fallback.
func TestFindExplicit(t *testing.T) {
	t.Parallel()
	root := openDir(t)
	script(t, filepath.Join(root, "half", "initdb"), "exit 1")
	install(t, filepath.Join(root, "old"), "9.6.24")
	install(t, filepath.Join(root, "odd"), "the great")
	install(t, filepath.Join(root, "broken"), "17.1")
	script(t, filepath.Join(root, "broken", "postgres"), "echo 'libicu is missing' >&2; exit 127")
	for dir, want := range map[string]string{
		"absent": "the program initdb is missing",
		"half":   "the program postgres is missing",
		"old":    "PostgreSQL 9.6.24 is too old, taskfeed needs 14 or newer",
		"odd":    "postgres --version says",
		"broken": "exit status 127 libicu is missing",
	} {
		f := nowhere(t)
		f.explicit = filepath.Join(root, dir)
		f.globs = []string{install(t, filepath.Join(root, "good"), "17.1")}
		_, err := f.find(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "TASKFEED_PG_BIN") {
			t.Errorf("%s: error %v, want TASKFEED_PG_BIN and %q", dir, err, want)
		}
	}
}

// The error names the directory that the user cannot enter.
func TestClosedDirectory(t *testing.T) {
	t.Parallel()
	closed := t.TempDir() // only its owner may enter
	bin := install(t, filepath.Join(closed, "a", "bin"), "17.1")
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	f := nowhere(t)
	f.explicit = bin
	_, err := f.find(t.Context())
	if !f.account.switched {
		if err != nil {
			t.Errorf("error %v for the directory's owner, want none", err)
		}
		return
	}
	top := filepath.Dir(closed) // t.TempDir() makes two levels, and may close both
	if err == nil || !strings.Contains(err.Error(), "may not enter "+top) || !strings.Contains(err.Error(), f.account.name) {
		t.Errorf("error %v, want that %s may not enter %s", err, f.account.name, top)
	}
}
