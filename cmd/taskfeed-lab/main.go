// Command taskfeed-lab proves and measures taskfeed on the machine at hand. It is
// for those who want to see it, not for production: nothing of it is linked into
// taskfeed, which it starts as a process of its own.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed/internal/cli"
)

func main() { cli.Main(rootCommand) }

func rootCommand(in *cli.Invocation) *cobra.Command {
	root := &cobra.Command{
		Use:   "taskfeed-lab",
		Short: "Prove and measure taskfeed on this machine",
		Long: "taskfeed-lab starts real taskfeed servers and a private Postgres, does to them what\n" +
			"happens to software, and judges or measures what comes of it. The servers are of the\n" +
			"program taskfeed that stands beside this one, or in PATH, or that --taskfeed names.",
	}
	root.AddCommand(verifyCommand(in), verifyWriterCommand(in), verifyClientCommand(in), benchCommand(in), benchBareCommand(in))
	return root
}

// taskfeedFlag adds the flag that names the program to start servers from.
func taskfeedFlag(cmd *cobra.Command, into *string) {
	cmd.Flags().StringVar(into, "taskfeed", "", "the taskfeed program to start servers from (default: the one beside this, or in PATH)")
}

// findTaskfeed returns the program to start servers from.
func findTaskfeed(named string) (string, error) {
	if named != "" {
		path, err := exec.LookPath(named)
		if err != nil {
			return "", cli.Usage(fmt.Errorf("--taskfeed: %w", err))
		}
		return filepath.Abs(path)
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	if path, err := exec.LookPath(filepath.Join(filepath.Dir(self), "taskfeed")); err == nil {
		return path, nil
	}
	if path, err := exec.LookPath("taskfeed"); err == nil {
		return filepath.Abs(path)
	}
	return "", cli.Usage(errors.New("there is no taskfeed beside this program or in PATH: name it with --taskfeed, or build both with make build"))
}
