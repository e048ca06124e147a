package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/store"
)

// seenByAll is the time after which every server has seen a command; they look once a
// second.
const seenByAll = 3 * time.Second

func forgetCommand(in *cli.Invocation) *cobra.Command {
	var cfg config
	var sure bool
	var batch int
	ss := newSettings(cfg.databaseSettings())
	cmd := &cobra.Command{
		Use:   "forget USER",
		Short: "Erase everything that names a user: tasks, events, waiting changes, messages",
		Long: "forget closes the user's connections on every server, deletes the user's tasks, and\n" +
			"erases all of the user's events from the log, messages to the app, and events that could\n" +
			"not be forwarded. It works in batches while servers run, makes no events, and can be run\n" +
			"again. Before you run it, stop making tokens for the user, and stop the app from writing\n" +
			"tasks of the user.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := ss.read(in.Env); err != nil {
				return cli.Usage(err)
			}
			switch {
			case cfg.store.URL == "":
				return cli.Usage(errors.New("DATABASE_URL: it is missing"))
			case !sure:
				return cli.Usage(errors.New("this deletes the user's tasks and events for good; confirm with --yes"))
			case batch < 1:
				return cli.Usage(errors.New("--batch must be 1 or more"))
			}
			st, err := store.Open(cmd.Context(), cfg.store)
			if err != nil {
				return err
			}
			defer st.Close()
			return forget(cmd.Context(), st, args[0], batch, in.Stdout)
		},
	}
	cmd.Flags().BoolVar(&sure, "yes", false, "confirm that all tasks and events of the user are deleted")
	cmd.Flags().IntVar(&batch, "batch", 5000, "tasks and events in one transaction")
	ss.register(cmd.Flags())
	return cmd
}

// forget closes the user's connections by a command to all servers, and erases once
// every server has seen that, because the command names the user too.
func forget(ctx context.Context, st *store.Store, userID string, batch int, out io.Writer) error {
	if err := st.Command(ctx, taskfeed.CommandDisconnectUser, userID); err != nil {
		return err
	}
	if !pause.For(ctx, seenByAll) {
		return context.Cause(ctx)
	}
	var total store.Forgotten
	for {
		erased, err := st.Forget(ctx, userID, batch)
		if err != nil {
			return fmt.Errorf("after %d tasks and %d events: %w", total.Tasks, total.Events, err)
		}
		if erased.Total() == 0 {
			break
		}
		total.Tasks += erased.Tasks
		total.Events += erased.Events
		total.Changes += erased.Changes
		total.Messages += erased.Messages
		total.Failures += erased.Failures
	}
	_, err := fmt.Fprintf(out, "erased: %d tasks, %d events, %d waiting changes, %d messages, %d failures of forward\n",
		total.Tasks, total.Events, total.Changes, total.Messages, total.Failures)
	return err
}
