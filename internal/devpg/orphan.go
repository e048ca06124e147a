package devpg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pidFile is the content of postmaster.pid.
type pidFile struct {
	pid    int
	status string // "ready" once connections are accepted
	lines  []string
}

var errBadPIDFile = errors.New("postmaster.pid has no process id")

func readPIDFile(dataDir string) (pidFile, error) {
	raw, err := os.ReadFile(pidFilePath(dataDir))
	if err != nil {
		return pidFile{}, err
	}
	f := pidFile{lines: strings.Split(string(raw), "\n")}
	if f.pid, err = strconv.Atoi(strings.TrimSpace(f.lines[0])); err != nil || f.pid <= 0 {
		return pidFile{}, errBadPIDFile
	}
	const statusLine = 7 // LOCK_FILE_LINE_PM_STATUS, counted from zero
	if len(f.lines) > statusLine {
		f.status = strings.TrimSpace(f.lines[statusLine])
	}
	return f, nil
}

func pidFilePath(dataDir string) string { return filepath.Join(dataDir, "postmaster.pid") }

// endOrphan ends a Postgres that runs in dataDir although its owner is dead, and makes
// sure that a stale pid file does not prevent the next start. The caller holds the
// directory's lock. patience bounds an ordered stop; zero means an immediate one.
func endOrphan(dataDir string, patience time.Duration) error {
	f, err := readPIDFile(dataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, errBadPIDFile): // truncated by a crash of the machine
		return os.Remove(pidFilePath(dataDir))
	case err != nil:
		return err
	}
	if err := endPostmaster(f.pid, dataDir, patience); err != nil {
		return err
	}
	return disown(dataDir)
}

func endPostmaster(pid int, dataDir string, patience time.Duration) error {
	proc, err := os.FindProcess(pid) // before the check: with a handle the pid cannot be reused
	if err != nil {
		return err
	}
	defer func() { _ = proc.Release() }() // a failure has no consequence
	if !isPostmaster(pid, dataDir) {
		return nil
	}
	mode := Fast
	if patience == 0 {
		mode = Immediate
	}
	_, err = stopGradually(proc, mode, patience, func(limit time.Duration) bool {
		deadline := time.Now().Add(limit)
		for isPostmaster(pid, dataDir) {
			if time.Now().After(deadline) {
				return false
			}
			time.Sleep(pollInterval)
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("end the postgres left behind in %s: %w", dataDir, err)
	}
	return nil
}

// disown handles a pid file whose pid now belongs to another program, because the
// kernel reuses pids: Postgres would refuse to start. It replaces the pid by one that
// no process has. It keeps the file, which also names the shared memory by which
// Postgres knows whether the processes of the last run are gone.
func disown(dataDir string) error {
	f, err := readPIDFile(dataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the ordered stop removed it
	}
	if err != nil || !alive(f.pid) {
		return err
	}
	const unusedPID = 1<<31 - 1 // above the greatest pid of any system
	f.lines[0] = strconv.Itoa(unusedPID)
	return os.WriteFile(pidFilePath(dataDir), []byte(strings.Join(f.lines, "\n")), 0o600) // keeps the file's owner
}

// alive reports whether a process has the pid, even as a zombie.
func alive(pid int) bool {
	return pid > 0 && !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}
