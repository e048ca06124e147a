package devpg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// minMajor is the oldest version of Postgres that taskfeed works on.
const minMajor = 14

// ErrNoBinaries means that there is no Postgres on this machine. The error that wraps
// it says where it was searched for and how to install one.
var ErrNoBinaries = errors.New("no PostgreSQL server binaries found")

const advice = `Install them:
  Debian, Ubuntu:  sudo apt-get install postgresql
  macOS:           brew install postgresql@17
or set TASKFEED_PG_BIN to the directory that holds initdb and postgres,
or set DATABASE_URL to use a running Postgres.`

// binaries is a directory with a usable initdb and postgres.
type binaries struct {
	dir     string
	version string // such as "17.10"
	major   int
}

// finder searches for the binaries. Its fields are the places to search; tests replace
// them.
type finder struct {
	explicit string   // the only place to search, unless empty
	path     string   // as in the variable PATH
	globs    []string // bin directories in order, the newest version of each first
	npm      npm
	account  account
}

func newFinder(cfg Config, a account) *finder {
	return &finder{
		explicit: cfg.BinDir,
		path:     os.Getenv("PATH"),
		globs: []string{
			"/usr/lib/postgresql/*/bin",
			"/usr/pgsql-*/bin",
			"/opt/homebrew/opt/postgresql@*/bin",
			"/usr/local/opt/postgresql@*/bin",
			"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
			"/Applications/Postgres.app/Contents/Versions/*/bin",
		},
		npm:     newNPM(cfg.Progress),
		account: a,
	}
}

// find returns the first usable binaries.
func (f *finder) find(ctx context.Context) (binaries, error) {
	if f.explicit != "" {
		b, err := f.check(ctx, f.explicit)
		if err != nil {
			return b, fmt.Errorf("TASKFEED_PG_BIN: %w", err)
		}
		return b, nil
	}
	var refused []string
	for dir := range f.candidates(ctx) {
		b, err := f.check(ctx, dir)
		if err == nil {
			return b, nil
		}
		if ctx.Err() != nil {
			return b, context.Cause(ctx)
		}
		refused = append(refused, "  "+err.Error()+"\n")
	}
	dir, err := f.npm.fetch(ctx, f.path)
	if err == nil {
		var b binaries
		if b, err = f.check(ctx, dir); err == nil {
			return b, nil
		}
	}
	refused = append(refused, "  "+err.Error()+"\n")
	return binaries{}, fmt.Errorf("%w:\n%s%s", ErrNoBinaries, strings.Join(refused, ""), advice)
}

// candidates yields directories in order of preference.
func (f *finder) candidates(ctx context.Context) iter.Seq[string] {
	return func(yield func(string) bool) {
		if initdb := lookPath(f.path, "initdb"); initdb != "" {
			if real, err := filepath.EvalSymlinks(initdb); err == nil && !yield(filepath.Dir(real)) {
				return
			}
		}
		if config := lookPath(f.path, "pg_config"); config != "" {
			out, err := exec.CommandContext(ctx, config, "--bindir").Output()
			if err == nil && !yield(strings.TrimSpace(string(out))) {
				return
			}
		}
		for _, glob := range f.globs {
			for _, dir := range newestFirst(glob) {
				if !yield(dir) {
					return
				}
			}
		}
	}
}

// lookPath is exec.LookPath for a given PATH. It returns "" for a missing program.
func lookPath(path, name string) string {
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if filepath.IsAbs(file) && executable(file) {
			return file
		}
	}
	return ""
}

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

var versionNumber = regexp.MustCompile(`\d+(\.\d+)?`)

// newestFirst lists the matches of a glob by the version that its star matches, as a
// number: 10 comes before 9.6. Matches without a version are left out.
func newestFirst(glob string) []string {
	before, after, _ := strings.Cut(glob, "*")
	version := func(dir string) float64 {
		v, err := strconv.ParseFloat(versionNumber.FindString(strings.TrimSuffix(strings.TrimPrefix(dir, before), after)), 64)
		if err != nil {
			return -1
		}
		return v
	}
	dirs, err := filepath.Glob(glob)
	if err != nil {
		return nil
	}
	dirs = slices.DeleteFunc(dirs, func(dir string) bool { return version(dir) < 0 })
	slices.SortStableFunc(dirs, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
	return dirs
}

// "postgres (PostgreSQL) 17.10 (Debian 17.10-1)"; a beta is "18beta1".
var versionLine = regexp.MustCompile(`\(PostgreSQL\) ((\d+)[.\w]*)`)

// check runs the binaries in dir as the account that will run the server.
func (f *finder) check(ctx context.Context, dir string) (binaries, error) {
	for _, name := range []string{"initdb", "postgres"} {
		if !executable(filepath.Join(dir, name)) {
			return binaries{}, fmt.Errorf("%s: the program %s is missing", dir, name)
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return binaries{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := runToEnd(ctx, f.account.command("/", filepath.Join(dir, "postgres"), "--version"))
	if err != nil {
		return binaries{}, fmt.Errorf("%s: %w %s", dir, f.account.explain(err, dir), out)
	}
	match := versionLine.FindStringSubmatch(out)
	if match == nil {
		return binaries{}, fmt.Errorf("%s: postgres --version says %q", dir, out)
	}
	major, err := strconv.Atoi(match[2])
	if err != nil {
		return binaries{}, err
	}
	if major < minMajor {
		return binaries{}, fmt.Errorf("%s: PostgreSQL %s is too old, taskfeed needs %d or newer", dir, match[1], minMajor)
	}
	return binaries{dir: dir, version: match[1], major: major}, nil
}
