// Package cli is what the commands of this project share: how they end, and how they
// refuse a wrong command line.
//
// Exit status: 0 after an ordered end, 1 after a failure, 2 when the command line or a
// setting is wrong, or the status that was set with Status.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed/internal/terminal"
)

// Invocation is the environment and the output of a command.
type Invocation struct {
	Environ        []string
	Stdout, Stderr io.Writer
}

// Env returns the value of a variable, and "" when it is not set.
func (in *Invocation) Env(name string) string {
	for _, pair := range in.Environ {
		if value, ok := strings.CutPrefix(pair, name+"="); ok && value != "" {
			return value
		}
	}
	return ""
}

// UsageError is a mistake in how the program was called.
type UsageError struct{ error }

func (e UsageError) Unwrap() error { return e.error }

// Usage makes err a UsageError.
func Usage(err error) error { return UsageError{err} }

type statusError struct {
	error
	status int
}

func (e statusError) Unwrap() error { return e.error }

// Status returns an error that ends the program with the status.
func Status(status int, err error) error { return statusError{err, status} }

// Main runs the program and ends the process. The first signal ends the command's
// context, the second one the process.
func Main(root func(*Invocation) *cobra.Command) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(Run(ctx, root, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// Run runs the program and returns the exit status.
func Run(ctx context.Context, root func(*Invocation) *cobra.Command, args, environ []string, stdout, stderr io.Writer) int {
	out, errs := terminal.NewWriter(stdout), terminal.NewWriter(stderr)
	defer out.End()
	defer errs.End()
	cmd := root(&Invocation{Environ: environ, Stdout: out, Stderr: errs})
	cmd.SetArgs(args)
	cmd.SetOut(out)
	cmd.SetErr(errs)
	prepare(cmd, args) // after SetOut: cobra's completion command keeps the current output
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(errs, "%s: %s\n", cmd.Name(), plain(err))
	if _, ok := errors.AsType[UsageError](err); ok {
		return 2
	}
	if e, ok := errors.AsType[statusError](err); ok {
		return e.status
	}
	return 1
}

// CompleteFlag makes the shell complete the values of a flag.
func CompleteFlag(cmd *cobra.Command, name string, words []string) {
	complete := cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc(name, complete); err != nil {
		panic(err) // the flag does not exist: a bug
	}
}

// version is set by the linker, in releases and images.
var version string

// Version returns the version of the release, and without one what the Go toolchain
// recorded in the binary.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
