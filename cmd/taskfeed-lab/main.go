// Command taskfeed-lab tests taskfeed under faults and measures it on the machine at
// hand. It is not for production and not linked into taskfeed, which it starts as a
// separate process.
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
		Short: "Test taskfeed under faults and measure it on this machine",
		Long: "taskfeed-lab starts real taskfeed servers and a private Postgres, injects faults and\n" +
			"judges the results, or measures. It starts the program taskfeed beside this one, or\n" +
			"the one in PATH, or the one that --taskfeed names.",
	}
	root.AddCommand(verifyCommand(in), verifyWriterCommand(in), verifyClientCommand(in), benchCommand(in), benchBareCommand(in), benchCrowdCommand(in), fleetCommand(in))
	return root
}

// taskfeedFlag adds the flag that names the program to start servers from.
func taskfeedFlag(cmd *cobra.Command, into *string) {
	cmd.Flags().StringVar(into, "taskfeed", "", "the taskfeed program to start servers from (default: the one beside this, or in PATH)")
}

// findTaskfeed returns the program to start servers from.
func findTaskfeed(named string) (string, error) {
	return findProgram("--taskfeed", named, "found no taskfeed beside this program or in PATH: name it with --taskfeed, or build both with make build", "taskfeed", "taskfeed")
}

// findProgram returns the path of the program that the flag names, or else of the one
// that is beside this program, or of the one in PATH.
func findProgram(flag, named, missing, beside, inPath string) (string, error) {
	if named != "" {
		path, err := exec.LookPath(named)
		if err != nil {
			return "", cli.Usage(fmt.Errorf("%s: %w", flag, err))
		}
		return filepath.Abs(path)
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	for _, name := range []string{filepath.Join(filepath.Dir(self), beside), inPath} {
		if path, err := exec.LookPath(name); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", cli.Usage(errors.New(missing))
}
