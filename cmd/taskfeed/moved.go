package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed/internal/cli"
)

// movedCommand says that a command of this program has moved to taskfeed-lab.
func movedCommand(name string) *cobra.Command {
	return &cobra.Command{
		Use: name, Hidden: true, DisableFlagParsing: true, Args: cobra.ArbitraryArgs,
		Short: "Moved to taskfeed-lab",
		RunE: func(*cobra.Command, []string) error {
			return cli.Usage(fmt.Errorf("%[1]s is a command of taskfeed-lab now: taskfeed-lab %[1]s", name))
		},
	}
}
