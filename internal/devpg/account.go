package devpg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"github.com/taskfeed/taskfeed/internal/proc"
)

// account is the system user that Postgres runs as.
type account struct {
	name     string
	home     string
	uid, gid int
	switched bool // the caller is root, and this is another user
}

// findAccount returns the caller's account. For root it returns the user called name,
// or if name is empty postgres or nobody: Postgres refuses to run as root. initdb
// looks up its own user, so the name must be in the user database.
func findAccount(name string) (account, error) {
	if uid := os.Geteuid(); uid != 0 {
		home, err := os.UserHomeDir()
		if err != nil {
			home = "/"
		}
		return account{home: home, uid: uid, gid: os.Getegid()}, nil
	}
	names := []string{"postgres", "nobody"}
	if name != "" {
		names = []string{name}
	}
	for _, n := range names {
		u, err := user.Lookup(n)
		if err != nil {
			continue
		}
		a := account{name: u.Username, home: u.HomeDir, switched: true}
		if a.uid, err = strconv.Atoi(u.Uid); err == nil {
			a.gid, err = strconv.Atoi(u.Gid)
		}
		if err != nil {
			return account{}, fmt.Errorf("user %s: %w", n, err)
		}
		if a.uid == 0 {
			return account{}, fmt.Errorf("user %s is root, and Postgres refuses to run as root; set TASKFEED_PG_USER to another user", n)
		}
		return a, nil
	}
	return account{}, fmt.Errorf("postgres refuses to run as root and there is no user %q; create it (useradd --system postgres) or set TASKFEED_PG_USER to another user", names[0])
}

// command prepares a child that runs as the account with a minimal environment. It
// has its own process group, so that Ctrl-C in the terminal reaches only this
// process. The account must be able to enter dir.
func (a account) command(dir, path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + filepath.Dir(path) + ":/usr/local/bin:/usr/bin:/bin",
		"HOME=" + a.home,
		"LC_ALL=" + utf8Locale(),
		"TZ=UTC",
	}
	proc.Attach(cmd, syscall.SIGINT) // a fast shutdown
	if a.switched {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return cmd
}

// utf8Locale names a locale that every system of this kind has.
func utf8Locale() string {
	if runtime.GOOS == "darwin" {
		return "en_US.UTF-8"
	}
	return "C.UTF-8"
}

// mkdir makes a directory that only the account may enter.
func (a account) mkdir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	return a.own(path)
}

// own makes the account the owner of a file.
func (a account) own(path string) error {
	if !a.switched {
		return nil
	}
	return os.Chown(path, a.uid, a.gid)
}

// explain adds advice to a permission error about path.
func (a account) explain(err error, path string) error {
	if !a.switched || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return fmt.Errorf("%w: user %s may not enter %s; use a directory that every user can reach, or set TASKFEED_PG_USER to another user", err, a.name, a.closedParent(path))
}

// closedParent returns the first directory on the way to path that the account may
// not enter by its permission bits, or path itself.
func (a account) closedParent(path string) string {
	closed := path
	for dir := path; ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.IsDir() && !a.mayEnter(info) {
			closed = dir
		}
		if dir == filepath.Dir(dir) {
			return closed
		}
	}
}

func (a account) mayEnter(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return true
	case int(stat.Uid) == a.uid:
		return info.Mode()&0o100 != 0
	case int(stat.Gid) == a.gid:
		return info.Mode()&0o010 != 0
	}
	return info.Mode()&0o001 != 0
}
