package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/lab/doctest"
	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// sources makes a small module with the names that matter, in a directory of its own.
func sources(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"go.mod":              "module github.com/taskfeed/taskfeed\n\ngo 1.26.0\n",
		"LICENSE":             "a license\n",
		"internal/cli/cli.go": "package cli\n\nvar version string\n\nfunc Version() string { return version }\n",
		"cmd/taskfeed/a.go":   "package main\n\nimport \"github.com/taskfeed/taskfeed/internal/cli\"\n\nfunc main() { println(cli.Version()) }\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func made(t *testing.T, targets []target) string {
	t.Helper()
	r := release{source: sources(t), out: filepath.Join(t.TempDir(), "dist"), version: "v1.2.3", at: time.Unix(1e9, 0).UTC(), targets: targets}
	if err := r.make(); err != nil {
		t.Fatalf("make a release: %v", err)
	}
	return r.out
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// Two builds in two directories are the same, byte for byte, and what comes out of an
// archive runs and knows its version.
func TestRelease(t *testing.T) {
	t.Parallel()
	own := target{runtime.GOOS, runtime.GOARCH, []string{product}}
	first, second := made(t, []target{own}), made(t, []target{own})
	sums := string(read(t, first, "SHA256SUMS"))
	if again := string(read(t, second, "SHA256SUMS")); sums != again {
		t.Errorf("a second build: got\n%swant\n%s", again, sums)
	}
	base := "taskfeed_1.2.3_" + own.os + "_" + own.arch
	for _, name := range []string{base + ".tar.gz", base + ".cdx.json"} {
		if !strings.Contains(sums, "  "+name+"\n") {
			t.Errorf("SHA256SUMS: got\n%swant a line for %s", sums, name)
		}
	}
	files := untar(t, read(t, first, base+".tar.gz"))
	if string(files["LICENSE"]) != "a license\n" {
		t.Errorf("archive: got the license %q, want that of the sources", files["LICENSE"])
	}
	program := filepath.Join(t.TempDir(), "taskfeed")
	if err := os.WriteFile(program, files["taskfeed"], 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program).CombinedOutput(); err != nil || string(out) != "v1.2.3\n" {
		t.Errorf("the program from the archive: got %q, %v, want its version", out, err)
	}
}

func untar(t *testing.T, packed []byte) map[string][]byte {
	t.Helper()
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string][]byte)
	for archive := tar.NewReader(unpacked); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
}

func TestZip(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.zip")
	if err := writeZip(path, time.Unix(1e9, 0).UTC(), []string{"sbom.go"}); err != nil {
		t.Fatalf("write a zip: %v", err)
	}
	archive, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	if got := archive.File[0]; got.Name != "sbom.go" || got.UncompressedSize64 == 0 || got.Mode() != 0o755 {
		t.Errorf("zip: got %s with %d bytes and mode %v, want sbom.go whole, with mode 755", got.Name, got.UncompressedSize64, got.Mode())
	}
}

// The list of a real binary, this test, has Go's library, and modules have what
// scanners look for.
func TestSBOM(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := writeSBOM(filepath.Join(dir, "a.json"), "v1.2.3", time.Unix(1e9, 0).UTC(), []string{self}); err != nil {
		t.Fatalf("write the list: %v", err)
	}
	var list bom
	if err := json.Unmarshal(read(t, dir, "a.json"), &list); err != nil {
		t.Fatal(err)
	}
	if got, want := list.Metadata.Component.PURL, "pkg:golang/github.com/taskfeed/taskfeed@v1.2.3"; got != want || list.Metadata.Timestamp != "2001-09-09T01:46:40Z" {
		t.Errorf("what the list is of: got %s at %s, want %s at the time given", got, list.Metadata.Timestamp, want)
	}
	if got, want := list.Components, "std"; len(got) != 1 || got[0].Name != want || got[0].Version == "" {
		t.Errorf("components: got %v, want %s, for Go records no modules in tests", got, want)
	}
	const sum = "h1:vAsdRcjLAh9lOSK+CcRwgjTmfVAlDVLiB1xQ4Kaaq1w="
	got := module("library", "example.com/a", "v2.0.0+incompatible", sum)
	if want := "pkg:golang/example.com/a@v2.0.0%2Bincompatible"; got.PURL != want || len(got.Hashes) != 1 || len(got.Hashes[0].Content) != 64 {
		t.Errorf("a module: got %s with the hashes %v, want %s with one of SHA-256", got.PURL, got.Hashes, want)
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{"v0.1.0": true, "v1.2.3-rc.1": true, "v0.1.0-4-gabcdef0-dirty": true, "": false, "1.2.3": false, "v1": false, "v1.2.3 -X a=b": false} {
		if got := validVersion.MatchString(version); got != want {
			t.Errorf("version %q: got %t, want %t", version, got, want)
		}
	}
}

// The linker's flag names a variable that exists.
func TestVersionVariable(t *testing.T) {
	t.Parallel()
	if !strings.HasSuffix(versionVariable, "/internal/cli.version") || !strings.Contains(doctest.Read(t, "internal/cli/cli.go"), "\nvar version string") {
		t.Errorf("%s: got no such variable in internal/cli/cli.go, want it", versionVariable)
	}
}
