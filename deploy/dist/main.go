// Command dist builds what is released: for each platform an archive of the commands,
// and a list of the modules in it (CycloneDX); and the checksums of all. The same
// sources and the same Go make the same bytes, in whatever directory.
//
//	go run ./deploy/dist --version v0.1.0 --out dist
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	log.SetFlags(0)
	r := release{source: "."}
	flag.StringVar(&r.out, "out", "dist", "directory for the files; what is in it is deleted")
	flag.StringVar(&r.version, "version", "", "version of the release (default: from git)")
	flag.Parse()
	r.targets = released
	if err := r.make(); err != nil {
		log.Fatalf("dist: %v", err)
	}
}

// release is what is built, from what and into what.
type release struct {
	source, out string
	version     string
	at          time.Time // of the files in archives
	targets     []target
}

// target is one platform and its commands.
type target struct {
	os, arch string
	commands []string // packages
}

const (
	product    = "./cmd/taskfeed"
	laboratory = "./cmd/taskfeed-lab" // needs signals and process groups
)

var released = []target{
	{"linux", "amd64", []string{product, laboratory}},
	{"linux", "arm64", []string{product, laboratory}},
	{"darwin", "amd64", []string{product, laboratory}},
	{"darwin", "arm64", []string{product, laboratory}},
	{"windows", "amd64", []string{product}},
	{"windows", "arm64", []string{product}},
}

// versionVariable is set by the linker; taskfeed version and /metrics show it.
const versionVariable = "github.com/taskfeed/taskfeed/internal/cli.version"

// validVersion keeps file names and linker flags plain.
var validVersion = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+[0-9A-Za-z.+-]*$`)

func (r *release) make() error {
	if err := r.complete(); err != nil {
		return err
	}
	if err := os.RemoveAll(r.out); err != nil {
		return err
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	for _, t := range r.targets {
		if err := r.build(t); err != nil {
			return fmt.Errorf("%s/%s: %w", t.os, t.arch, err)
		}
	}
	return writeChecksums(r.out)
}

// complete asks git for what was not given.
func (r *release) complete() error {
	if r.version == "" {
		described, err := r.git("describe", "--tags", "--match", "v*", "--dirty")
		if err != nil {
			commit, err := r.git("rev-parse", "--short=12", "HEAD")
			if err != nil {
				return errors.New("--version is missing, and there is no git to ask")
			}
			described = "v0.0.0-" + commit
		}
		r.version = described
	}
	if !validVersion.MatchString(r.version) {
		return fmt.Errorf("the version %q is not of the form v1.2.3", r.version)
	}
	if !r.at.IsZero() {
		return nil
	}
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		var err error
		if text, err = r.git("show", "--no-patch", "--format=%ct", "HEAD"); err != nil {
			return errors.New("SOURCE_DATE_EPOCH is missing, and there is no git to ask for the time of the commit")
		}
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fmt.Errorf("the time %q is no number of seconds", text)
	}
	r.at = time.Unix(seconds, 0).UTC()
	return nil
}

func (r *release) git(args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = r.source
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}

// build makes the archive of a platform, and the list of what is in it.
func (r *release) build(t target) error {
	dir, err := os.MkdirTemp("", "taskfeed-dist-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var binaries []string
	for _, pkg := range t.commands {
		binary := filepath.Join(dir, filepath.Base(pkg))
		if t.os == "windows" {
			binary += ".exe"
		}
		if err := r.compile(t, pkg, binary); err != nil {
			return err
		}
		binaries = append(binaries, binary)
	}
	base := filepath.Join(r.out, fmt.Sprintf("taskfeed_%s_%s_%s", strings.TrimPrefix(r.version, "v"), t.os, t.arch))
	if err := writeSBOM(base+".cdx.json", r.version, r.at, binaries); err != nil {
		return err
	}
	files := slices.Concat(binaries, []string{filepath.Join(r.source, "LICENSE")})
	if t.os == "windows" {
		return writeZip(base+".zip", r.at, files)
	}
	return writeTar(base+".tar.gz", r.at, files)
}

// compile builds a static binary that holds no path and no time.
func (r *release) compile(t target, pkg, binary string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags=-s -w -buildid= -X "+versionVariable+"="+r.version, "-o", binary, pkg)
	cmd.Dir = r.source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+t.os, "GOARCH="+t.arch, "GOFLAGS=-mod=readonly", "GOAMD64=v1", "GOARM64=v8.0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}
