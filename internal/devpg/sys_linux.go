package devpg

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// isPostmaster reports whether pid is a Postgres that runs in dataDir and is not a
// zombie. It reads the command line, which any user may read: in many containers even
// root may not read the working directory of another user's process.
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

// worksIn reports whether the process runs in dataDir, for a Postgres that was started
// with another path of it.
func worksIn(pid int, dataDir string) bool {
	cwd, err := os.Stat(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return false
	}
	data, err := os.Stat(dataDir)
	return err == nil && os.SameFile(cwd, data)
}
