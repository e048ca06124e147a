package verify

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/taskfeed/taskfeed/internal/proc"
)

// startChild starts a server, a writer or a group of clients. The child does not get
// the signals of the terminal's keys and, on Linux, ends with this process.
func startChild(name, binary string, args, env []string, in io.Reader, out, log io.Writer) (*proc.Process, error) {
	cmd := exec.Command(binary, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir(), "GORACE=" + os.Getenv("GORACE")}, env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, log
	cmd.WaitDelay = time.Second
	proc.Attach(cmd, syscall.SIGKILL)
	p, err := proc.Start(cmd)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}
