package devpg

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// isPostmaster reports whether pid is a Postgres that works in dataDir; a zombie
// is not. The command line tells, which anyone may read: the working directory
// of another user's process is hidden from root in many containers.
func isPostmaster(pid int, dataDir string) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	args := strings.Split(string(raw), "\x00")
	if filepath.Base(args[0]) != "postgres" {
		return false
	}
	return slices.Contains(args, dataDir) || worksIn(pid, dataDir)
}

// worksIn covers a Postgres that was given its directory by another name.
func worksIn(pid int, dataDir string) bool {
	cwd, err := os.Stat(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return false
	}
	data, err := os.Stat(dataDir)
	return err == nil && os.SameFile(cwd, data)
}
