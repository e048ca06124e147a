// Command taskfeed turns committed changes of rows in a Postgres table into
// notifications that no user misses.
//
// It is wiring and nothing but: configuration (config.go), one small file for
// each subcommand, and serve.go, where everything meets.
//
// Exit status: 0 after an ordered end, 1 when something failed, 2 when the
// command line or a setting is wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed/internal/logs"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal cuts
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// invocation is what a subcommand sees of the outside world.
type invocation struct {
	environ        []string
	stdout, stderr io.Writer
}

// env returns the value of a variable, and "" when it is not set.
func (in *invocation) env(name string) string {
	for _, pair := range in.environ {
		if len(pair) > len(name) && pair[:len(name)] == name && pair[len(name)] == '=' {
			return pair[len(name)+1:]
		}
	}
	return ""
}

// usageError is a mistake in how the program was called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// run is main without the process: it returns the exit status.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	out, errs := &terminalWriter{out: stdout}, &terminalWriter{out: stderr}
	defer out.end()
	defer errs.end()
	root := rootCommand(&invocation{environ: environ, stdout: out, stderr: errs})
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(errs, "taskfeed: %s\n", logs.Redact(err.Error()))
	if _, ok := errors.AsType[usageError](err); ok {
		return 2
	}
	if e, ok := errors.AsType[statusError](err); ok {
		return e.status
	}
	return 1
}

func rootCommand(in *invocation) *cobra.Command {
	root := &cobra.Command{
		Use:   "taskfeed",
		Short: "Turn committed changes of Postgres rows into notifications that no user misses",
		Long: "taskfeed turns committed changes of rows in a Postgres table into notifications\n" +
			"that no user misses: live over WebSocket, or on reconnect, exactly once and in order.\n\n" +
			"To try it, with a private database and a demo: taskfeed dev",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	})
	root.AddCommand(serveCommand(in), devCommand(in), migrateCommand(in), doctorCommand(in), tokenCommand(in),
		tailCommand(in), tasksCommand(in), eventsCommand(in), benchCommand(in), healthcheckCommand(in), versionCommand(in),
		verifyCommand(in), verifyWriterCommand(in), verifyClientCommand(in), benchBareCommand(in), forgetCommand(in))
	for _, cmd := range root.Commands() {
		wrapArgs(cmd)
	}
	return root
}

// wrapArgs makes wrong arguments usage errors.
func wrapArgs(cmd *cobra.Command) {
	check := cmd.Args
	if check == nil {
		check = cobra.NoArgs
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
		}
		return nil
	}
	for _, sub := range cmd.Commands() {
		wrapArgs(sub)
	}
}
