//go:build unix && !linux

package devpg

import (
	"os/exec"
	"strconv"
	"strings"
)

// isPostmaster reports whether pid is a Postgres that was started in dataDir.
func isPostmaster(pid int, dataDir string) bool {
	out, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(out), "postgres") && strings.Contains(string(out), dataDir)
}
