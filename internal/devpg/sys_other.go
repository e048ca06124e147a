//go:build unix && !linux

package devpg

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent does nothing: this system has no such signal. The next start
// ends what was left behind.
func dieWithParent(*syscall.SysProcAttr) {}

// isPostmaster reports whether pid is a Postgres that was started on dataDir.
func isPostmaster(pid int, dataDir string) bool {
	out, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(out), "postgres") && strings.Contains(string(out), dataDir)
}
