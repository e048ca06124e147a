// Command taskfeed turns committed changes of rows in a Postgres table into
// notifications that no user misses.
//
// It reads the configuration (config.go) and has one small file for each subcommand;
// package server is what serve runs.
//
// Exit status: 0 after an ordered end, 1 after a failure, 2 when the command line or a
// setting is wrong.
package main

import (
	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed/internal/cli"
)

func main() {
	cli.Main(rootCommand)
}

func rootCommand(in *cli.Invocation) *cobra.Command {
	root := &cobra.Command{
		Use:   "taskfeed",
		Short: "Turn committed changes of Postgres rows into notifications that no user misses",
		Long: "taskfeed turns committed changes of rows in a Postgres table into notifications\n" +
			"that no user misses: live over WebSocket, or on reconnect, exactly once and in order.\n\n" +
			"To try it, with a private database and a demo: taskfeed dev",
	}
	root.AddCommand(serveCommand(in), gatewayCommand(in), devCommand(in), migrateCommand(in), doctorCommand(in), tokenCommand(in),
		tailCommand(in), tasksCommand(in), eventsCommand(in), inboxCommand(in), healthcheckCommand(in), versionCommand(in),
		attachCommand(in), detachCommand(in), sourcesCommand(in), forwardCommand(in), forgetCommand(in), movedCommand("verify"), movedCommand("bench"))
	return root
}
