package main

import (
	"cmp"
	"encoding/json"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/store/history"
)

func eventsCommand(in *cli.Invocation) *cobra.Command {
	var user, task string
	var types []string
	var oldestFirst bool
	cmd := &cobra.Command{
		Use:   "events",
		Short: "List events",
		Long: "events lists the log, newest first, as far as it is kept. With --user it lists the\n" +
			"events of that user and the broadcasts. For events as they happen: taskfeed tail.",
		Example: "  taskfeed events --user alice --since 1h\n  taskfeed events --type task_failed --all --output ndjson | jq .data.error",
	}
	f := newListFlags(in, cmd)
	f.paged(cmd)
	flags := cmd.Flags()
	flags.StringVar(&user, "user", "", "events of this user, and broadcasts")
	flags.StringVar(&task, "task", "", "events of this task")
	flags.StringSliceVar(&types, "type", nil, "events of these types, separated by commas")
	flags.BoolVar(&oldestFirst, "oldest-first", false, "list the oldest first")
	f.moment(cmd, "since", "captured at this time or later")
	f.moment(cmd, "until", "captured before this time")
	cli.CompleteFlag(cmd, "type", words(taskfeed.TaskTypes))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		query := given(map[string]string{"user_id": user, "task_id": task, "type": strings.Join(types, ",")})
		if oldestFirst {
			query.Set("sort", string(history.SortID))
		}
		client, err := f.complete(in, query)
		if err != nil {
			return err
		}
		return f.list(cmd.Context(), in, client, query, "events", []string{"TIME", "ID", "TYPE", "USER", "TASK", "FIELDS"}, eventRow)
	}
	return cmd
}

// listedEvent is an event as the API lists it.
type listedEvent struct {
	ID        taskfeed.Cursor
	Type      string
	Timestamp time.Time
	UserID    string `json:"user_id"`
	TaskID    string `json:"task_id"`
	Version   int64
	Data      json.RawMessage
}

func eventRow(raw json.RawMessage) ([]string, error) {
	var e listedEvent
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, err
	}
	return []string{stampCell(e.Timestamp), e.ID.String(), cell(e.Type, maxCell), cell(cmp.Or(e.UserID, "everybody"), maxCell),
		cell(cmp.Or(e.TaskID, "-"), maxCell), tailFields(e.Data)}, nil
}
