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

// seenByAll is the time in which every server has seen a command: they look once a
// second.
const seenByAll = 3 * time.Second

func forgetCommand(in *cli.Invocation) *cobra.Command {
	var cfg config
	var sure bool
	var batch int
	ss := newSettings(cfg.databaseSettings())
	cmd := &cobra.Command{
		Use:   "forget USER",
		Short: "Erase what names a user: tasks, events, changes on their way",
		Long: "forget closes the user's connections on every server, deletes the user's tasks, and\n" +
			"erases all events of theirs from the log, in batches, while servers run. Nothing is\n" +
			"told of it, and it may be run again. Make no more tokens for the user, and let the app\n" +
			"write no more tasks of theirs, before you call it.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := ss.read(in.Env); err != nil {
				return cli.Usage(err)
			}
			switch {
			case cfg.store.URL == "":
				return cli.Usage(errors.New("DATABASE_URL: it is missing"))
			case !sure:
				return cli.Usage(errors.New("this removes the user's tasks and events for good; say --yes if you mean it"))
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
	cmd.Flags().BoolVar(&sure, "yes", false, "yes, all tasks and events of the user shall be gone")
	cmd.Flags().IntVar(&batch, "batch", 5000, "tasks and events in one transaction")
	ss.register(cmd.Flags())
	return cmd
}

// forget has the user's connections closed, and erases when every server has seen
// the command, for that names the user too.
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
	}
	_, err := fmt.Fprintf(out, "erased: %d tasks, %d events, %d changes on their way\n", total.Tasks, total.Events, total.Changes)
	return err
}
