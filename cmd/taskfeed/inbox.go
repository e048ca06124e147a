package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/inbox"
	"github.com/taskfeed/taskfeed/internal/cli"
)

const (
	on  = "on"
	off = "off"
)

// inboxSettings are the settings of messages of users to the app. The demo of dev takes
// some.
func (c *config) inboxSettings() []*setting {
	takes, topics := off, ""
	if c.dev {
		takes, topics = on, demoTopic
	}
	return []*setting{
		{"TASKFEED_INBOX", "on or off: whether users may send messages to the app, which takes them with taskfeed.receive", takes, choice(&c.takes, on, off)},
		{"TASKFEED_INBOX_TOPICS", "the topics of these messages that are allowed, separated by commas", topics, list(&c.inbox.Topics)},
		{"TASKFEED_INBOX_PER_MINUTE", "messages that one user may send to the app", "120", number(&c.inbox.PerMinute, 1, true)},
		{"TASKFEED_INBOX_PER_USER", "messages of one user that may wait for the app", "100", number(&c.inbox.PerUser, 1, false)},
		{"TASKFEED_INBOX_TOTAL", "messages of all users that may wait for the app", "100000", number(&c.inbox.Total, 1, false)},
	}
}

// finishInbox completes the configuration of the inbox: one without topics is off.
func (c *config) finishInbox() error {
	if c.takes != on {
		c.inbox.Topics = nil
		return nil
	}
	if len(c.inbox.Topics) == 0 {
		return errors.New("TASKFEED_INBOX_TOPICS: it is missing; name the topics that users may send, such as cancel")
	}
	if err := inbox.CheckTopics(c.inbox.Topics); err != nil {
		return fmt.Errorf("TASKFEED_INBOX_TOPICS: %w", err)
	}
	return nil
}

func inboxCommand(in *cli.Invocation) *cobra.Command {
	var user, task string
	cmd := &cobra.Command{
		Use:   "inbox",
		Short: "List messages of users to the app",
		Long: "inbox lists the messages that wait for the app, and those of the last day that it has\n" +
			"received, newest first. The app takes them with taskfeed.receive.",
		Example: "  taskfeed inbox --task t1\n  taskfeed inbox --all --output ndjson | jq 'select(.waiting)'",
	}
	f := newListFlags(in, cmd)
	f.paged(cmd)
	cmd.Flags().StringVar(&user, "user", "", "messages of this user")
	cmd.Flags().StringVar(&task, "task", "", "messages about this task")
	_ = cmd.Flags().MarkHidden("mine") // this list is for admins
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.mine {
			return cli.Usage(errors.New("--mine: only admins can list messages"))
		}
		query := given(map[string]string{"user_id": user, "task_id": task})
		client, err := f.complete(in, query)
		if err != nil {
			return err
		}
		return f.list(cmd.Context(), in, client, query, "messages", []string{"TIME", "ID", "USER", "TOPIC", "TASK", "STATE", "DATA"}, messageRow)
	}
	return cmd
}

func messageRow(raw json.RawMessage) ([]string, error) {
	var m taskfeed.SentMessage
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, err
	}
	state := "received"
	if m.Waiting {
		state = "waits"
	}
	return []string{stampCell(m.CreatedAt), strconv.FormatInt(m.ID, 10), cell(m.UserID, maxCell), cell(m.Topic, maxCell),
		cell(cmp.Or(m.TaskID, "-"), maxCell), state, tailFields(m.Data)}, nil
}
