package devpg

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The contents of a state directory. Reset removes these and nothing else.
const (
	lockName     = "lock"       // flocked by the owner
	ownerName    = "owner.json" // describes the owner to other processes
	passwordName = "password"
	logName      = "server.log" // of the current run
	oldLogName   = "server.log.1"
	dataName     = "data"
	socketsName  = "run"
	newSuffix    = ".new" // of a file or directory that is not complete yet
)

// tempPrefix is the prefix of every temporary server's directory.
const tempPrefix = "taskfeed-pg-"

// maxSocketDir is the longest path of a socket directory: some systems allow 103
// bytes for the path of a socket.
const maxSocketDir = 103 - len("/.s.PGSQL.65535")

// InUseError means that another owner, possibly in this process, runs a server in the
// directory.
type InUseError struct {
	Dir  string
	PID  int    // of the owner, not of Postgres; 0: not known yet
	Port int    // 0 while the server is starting
	URL  string // of the database "postgres", password included; empty while the server is starting
}

// Error names the owner and the port, without the password.
func (e *InUseError) Error() string {
	who, where := "another process", "and is starting"
	if e.PID != 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	if e.Port != 0 {
		where = fmt.Sprintf("on 127.0.0.1:%d", e.Port)
	}
	return fmt.Sprintf("the private Postgres in %s is already run by %s %s; stop that process first, or set DATABASE_URL to use its database", e.Dir, who, where)
}

// DefaultDir returns the state directory of "taskfeed dev": taskfeed/dev under
// XDG_DATA_HOME or ~/.local/share. For root it is /var/lib/taskfeed/dev, because the
// user that Postgres runs as cannot enter root's home.
func DefaultDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/taskfeed/dev", nil
	}
	if data := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "taskfeed", "dev"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find a directory for the private Postgres: %w; set XDG_DATA_HOME", err)
	}
	return filepath.Join(home, ".local", "share", "taskfeed", "dev"), nil
}

// Reset removes the server's data, password and logs from a state directory, and the
// directory itself when nothing else is in it. It first ends a Postgres that was left
// behind there. It returns *InUseError when a live process owns the directory, and
// nil when the directory does not exist.
func Reset(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := checkOurs(dir); err != nil {
		return err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	if err := endOrphan(filepath.Join(dir, dataName), forcedStop); err != nil {
		return errors.Join(err, unlock(lock))
	}
	return errors.Join(wipe(dir), unlock(lock))
}

// wipe removes the contents listed above, the lock last; the caller holds it. The data
// directory is renamed first, so that half of it is never taken for data.
func wipe(dir string) error {
	data := filepath.Join(dir, dataName)
	if err := removeAll(data + newSuffix); err != nil {
		return err
	}
	if err := os.Rename(data, data+newSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var errs []error
	for _, name := range []string{dataName + newSuffix, socketsName, passwordName, passwordName + newSuffix,
		logName, oldLogName, ownerName, ownerName + newSuffix, lockName} {
		errs = append(errs, removeAll(filepath.Join(dir, name)))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	err := os.Remove(dir)
	if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) {
		return nil // it has other files
	}
	return err
}

// removeAll tries for a while: the last processes of a killed Postgres write until
// they notice the kill, which a busy disk delays.
func removeAll(path string) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(pollInterval) {
		err := os.RemoveAll(path)
		if err == nil || !errors.Is(err, syscall.ENOTEMPTY) || time.Now().After(deadline) {
			return err
		}
	}
}

// stateDir is a directory that this process owns until close.
type stateDir struct {
	path    string // absolute
	sockets string // the socket directory; see maxSocketDir
	account account

	mu   sync.Mutex
	lock *os.File // nil after close
}

// openStateDir creates the directory if it is absent and takes its lock.
func openStateDir(cfg Config, a account) (*stateDir, error) {
	if cfg.Temporary {
		sweep(cfg.Parent, cfg.Progress)
		return openTemporary(cfg.Parent, a)
	}
	path, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if err := makeDir(path, a); err != nil {
		return nil, fmt.Errorf("create the state directory of the private Postgres: %w", err)
	}
	if err := checkOurs(path); err != nil {
		return nil, err
	}
	lock, err := lockDir(path)
	if err != nil {
		return nil, err
	}
	return newStateDir(path, a, lock), nil
}

// openTemporary creates a new directory. If a sweep of another process removes it
// before it is locked, it creates another.
func openTemporary(parent string, a account) (*stateDir, error) {
	for {
		path, err := os.MkdirTemp(parent, tempPrefix)
		if err != nil {
			return nil, err
		}
		if err := os.Chmod(path, dirMode(a)); err != nil {
			return nil, err
		}
		lock, err := lockDir(path)
		if _, inUse := errors.AsType[*InUseError](err); inUse || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return newStateDir(path, a, lock), nil
	}
}

func newStateDir(path string, a account, lock *os.File) *stateDir {
	sockets := filepath.Join(path, socketsName)
	if len(sockets) > maxSocketDir {
		sockets = fmt.Sprintf("/tmp/taskfeed-run-%.8x", sha256.Sum256([]byte(path)))
	}
	return &stateDir{path: path, sockets: sockets, account: a, lock: lock}
}

// checkOurs refuses a directory that has files and no lock file: they are not of
// devpg, and must not be removed.
func checkOurs(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	ours := len(entries) == 0 || slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == lockName })
	if !ours {
		return fmt.Errorf("%s is not empty and not the directory of a private Postgres; name another directory", dir)
	}
	return nil
}

// makeDir creates the directory and its parents so that the account can enter it.
func makeDir(path string, a account) error {
	if err := mkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(path, dirMode(a))
}

// mkdirAll creates directories that every user can enter, whatever the umask.
func mkdirAll(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil
	}
	if err := mkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	err := os.Mkdir(path, 0o755)
	if errors.Is(err, fs.ErrExist) { // another process created it just now
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(path, 0o755)
}

// dirMode lets another account enter the directory, but not list it.
func dirMode(a account) fs.FileMode {
	if a.switched {
		return 0o711
	}
	return 0o700
}

// lockDir takes the directory's lock without waiting. unlock or the end of the process
// releases it; a child does not keep it, because the file is close-on-exec.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(inUse(dir), f.Close())
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		if sameFile(f, path) {
			return f, nil
		}
		if err := unlock(f); err != nil { // a Reset or a sweep has removed the file meanwhile
			return nil, err
		}
	}
}

// unlock releases a lock at once. Closing the file is not enough: a child that another
// goroutine has just forked shares the lock until its exec.
func unlock(f *os.File) error {
	return errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close())
}

func sameFile(f *os.File, path string) bool {
	have, err := f.Stat()
	if err != nil {
		return false
	}
	want, err := os.Stat(path)
	return err == nil && os.SameFile(have, want)
}

// owner is how the owner of a directory describes itself.
type owner struct {
	PID  int    `json:"pid"`
	Port int    `json:"port"`
	URL  string `json:"url"`
}

// inUse describes the owner of a locked directory as far as possible.
func inUse(dir string) *InUseError {
	e := &InUseError{Dir: dir}
	raw, err := os.ReadFile(filepath.Join(dir, ownerName))
	if err != nil {
		return e
	}
	var o owner
	if json.Unmarshal(raw, &o) == nil && alive(o.PID) { // otherwise written by an earlier owner
		e.PID, e.Port, e.URL = o.PID, o.Port, o.URL
	}
	return e
}

// writeOwner describes this process as the owner. The URL has the password.
func (d *stateDir) writeOwner(port int, url string) error {
	raw, err := json.Marshal(owner{PID: os.Getpid(), Port: port, URL: url})
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(d.path, ownerName), raw)
}

// replaceFile writes a private file atomically. The caller holds the lock of its
// directory.
func replaceFile(path string, content []byte) error {
	if err := os.WriteFile(path+newSuffix, content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+newSuffix, path)
}

func (d *stateDir) data() string { return filepath.Join(d.path, dataName) }

func (d *stateDir) rotateLog() error {
	err := os.Rename(filepath.Join(d.path, logName), filepath.Join(d.path, oldLogName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// prepareSockets creates an empty socket directory. Files in an old one are of a run
// that was killed.
func (d *stateDir) prepareSockets() error {
	if err := os.RemoveAll(d.sockets); err != nil {
		return err
	}
	return d.account.mkdir(d.sockets)
}

func (d *stateDir) closed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lock == nil
}

// close releases the directory, and removes it first if remove is set.
func (d *stateDir) close(remove bool) error {
	d.mu.Lock()
	lock := d.lock
	d.lock = nil
	d.mu.Unlock()
	if lock == nil {
		return nil
	}
	errs := []error{removeAll(d.sockets), removeAll(filepath.Join(d.path, ownerName))}
	if remove {
		errs = []error{removeAll(d.sockets), removeAll(d.path)}
	}
	return errors.Join(append(errs, unlock(lock))...)
}

// sweep removes the directories of temporary servers from parent whose owner is dead.
// It leaves what it cannot remove to the next sweep.
func sweep(parent string, progress func(string)) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		progress("search for databases that were left behind: " + err.Error())
		return
	}
	for _, e := range entries {
		path := filepath.Join(parent, e.Name())
		if !strings.HasPrefix(e.Name(), tempPrefix) || !oursToSweep(path) {
			continue
		}
		if err := sweepOne(path); err != nil {
			progress("remove a database that was left behind: " + err.Error())
		}
	}
}

// oursToSweep reports whether path is a directory of this user with a lock file:
// without one, it has just been created.
func oursToSweep(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) != os.Geteuid() {
		return false
	}
	_, err = os.Stat(filepath.Join(path, lockName))
	return err == nil
}

func sweepOne(path string) error {
	lock, err := lockDir(path)
	if _, inUse := errors.AsType[*InUseError](err); inUse || errors.Is(err, fs.ErrNotExist) {
		return nil // its owner is alive, or another sweep was faster
	}
	if err != nil {
		return err
	}
	if err := endOrphan(filepath.Join(path, dataName), 0); err != nil {
		return errors.Join(err, unlock(lock))
	}
	return errors.Join(removeAll(path), unlock(lock))
}
