package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/store/history"
)

func tasksCommand(in *cli.Invocation) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tasks",
		Short: "Show tasks and their events",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(tasksListCommand(in), tasksShowCommand(in))
	return cmd
}

// listFlags are the flags of every command that lists something.
type listFlags struct {
	api    *apiSettings
	mine   bool
	output string
	limit  int
	all    bool
	times  map[string]*string // by flag
}

// defaultRows is how many rows a list shows by default.
const defaultRows = 50

func newListFlags(in *cli.Invocation, cmd *cobra.Command) *listFlags {
	f := &listFlags{api: newAPISettings(in), limit: defaultRows, times: make(map[string]*string)}
	flags := cmd.Flags()
	flags.BoolVar(&f.mine, "mine", false, "only what belongs to the token's user; needs no admin role")
	flags.StringVar(&f.output, "output", outputTable, strings.Join(outputs, ", "))
	cli.CompleteFlag(cmd, "output", outputs)
	f.api.own.register(flags)
	return f
}

// paged adds the flags of lists that come in pages.
func (f *listFlags) paged(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.limit, "limit", defaultRows, "how many to show at most")
	cmd.Flags().BoolVar(&f.all, "all", false, "show all")
}

// moment adds a flag for a time. Its parameter has underscores instead of dashes.
func (f *listFlags) moment(cmd *cobra.Command, name, usage string) {
	f.times[name] = cmd.Flags().String(name, "", usage+": a time such as 2026-11-22T10:00:00Z, or how long ago, such as 2h")
}

// complete checks the flags and returns the client to ask with.
func (f *listFlags) complete(in *cli.Invocation, query url.Values) (*apiClient, error) {
	var errs []error
	if !slices.Contains(outputs, f.output) {
		errs = append(errs, fmt.Errorf("--output: must be one of %s", strings.Join(outputs, ", ")))
	}
	if f.limit < 1 {
		errs = append(errs, errors.New("--limit: must be at least 1; --all shows all"))
	}
	for name, value := range f.times {
		moment, err := parseMoment(name, *value)
		if err != nil {
			errs = append(errs, err)
		} else if moment != "" {
			query.Set(strings.ReplaceAll(name, "-", "_"), moment)
		}
	}
	client, err := f.api.client(in.Env, f.mine)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, cli.Usage(err)
	}
	return client, nil
}

// list prints a list page by page.
func (f *listFlags) list(ctx context.Context, in *cli.Invocation, client *apiClient, query url.Values, path string,
	heads []string, row func(json.RawMessage) ([]string, error),
) error {
	p := newPrinter(in, f.output)
	limit := f.limit
	if f.all {
		limit = -1
	}
	err := client.pages(ctx, query, limit, func(items []json.RawMessage) error {
		if f.output != outputTable {
			return p.items(items)
		}
		rows := make([][]string, len(items))
		for i, item := range items {
			var err error
			if rows[i], err = row(item); err != nil {
				return fmt.Errorf("read the answer: %w", err)
			}
		}
		return p.table(heads, rows)
	}, path)
	if err != nil {
		return err
	}
	return p.end()
}

func words[S ~string](values []S) []string {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = string(v)
	}
	return list
}

func tasksListCommand(in *cli.Invocation) *cobra.Command {
	var user, kind, contains, sort string
	var statuses []string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List tasks",
		Long:    "list shows the current state of tasks, newest first. It asks a server's API.",
		Example: "  taskfeed tasks list --status running,queued --user alice\n  taskfeed tasks list --updated-after 1h --all --output ndjson | jq .id",
	}
	f := newListFlags(in, cmd)
	f.paged(cmd)
	flags := cmd.Flags()
	flags.StringVar(&user, "user", "", "tasks of this user")
	flags.StringSliceVar(&statuses, "status", nil, "tasks with these statuses, separated by commas")
	flags.StringVar(&kind, "kind", "", "tasks of this kind")
	flags.StringVar(&contains, "contains", "", "tasks with this text in the id, the message or the error")
	flags.StringVar(&sort, "sort", "", "created or updated; with a minus in front, newest first (default -created)")
	f.moment(cmd, "created-after", "created at this time or later")
	f.moment(cmd, "created-before", "created before this time")
	f.moment(cmd, "updated-after", "last changed at this time or later")
	f.moment(cmd, "updated-before", "last changed before this time")
	cli.CompleteFlag(cmd, "status", words(taskfeed.Statuses))
	cli.CompleteFlag(cmd, "sort", words([]history.Sort{history.SortCreatedDesc, history.SortCreated, history.SortUpdatedDesc, history.SortUpdated}))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		query := given(map[string]string{"user_id": user, "kind": kind, "q": contains, "sort": sort, "status": strings.Join(statuses, ",")})
		client, err := f.complete(in, query)
		if err != nil {
			return err
		}
		return f.list(cmd.Context(), in, client, query, "tasks", taskHeads, taskRow)
	}
	return cmd
}

// given returns the parameters that are not empty.
func given(params map[string]string) url.Values {
	query := make(url.Values)
	for name, value := range params {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

var taskHeads = []string{"ID", "USER", "KIND", "STATUS", "DONE", "UPDATED", "MESSAGE"}

func taskRow(raw json.RawMessage) ([]string, error) {
	var t taskfeed.Task
	if err := json.Unmarshal(raw, &t); err != nil {
		return nil, err
	}
	return []string{cell(t.ID, maxCell), cell(t.UserID, maxCell), cell(cmp.Or(t.Kind, "-"), maxCell), cell(string(t.Status), maxCell),
		strconv.Itoa(t.Progress) + "%", stampCell(t.UpdatedAt), cell(cmp.Or(t.Error, t.Message), maxCell)}, nil
}

func tasksShowCommand(in *cli.Invocation) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show one task and its events",
		Long:    "show prints the current state of a task, its events as far as the log is kept, and how long it took.",
		Example: "  taskfeed tasks show task-123\n  taskfeed tasks show task-123 --output json | jq .summary",
		Args:    cobra.ExactArgs(1),
	}
	f := newListFlags(in, cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := f.complete(in, nil)
		if err != nil {
			return err
		}
		story, err := readStory(cmd.Context(), client, args[0])
		if err != nil {
			return err
		}
		return story.print(newPrinter(in, f.output))
	}
	return cmd
}

// story is a task and its events. Task is nil when its row has been deleted.
type story struct {
	Task    json.RawMessage   `json:"task"`
	Summary json.RawMessage   `json:"summary"`
	Events  []json.RawMessage `json:"events"`
}

func readStory(ctx context.Context, client *apiClient, id string) (*story, error) {
	var s story
	err := client.get(ctx, nil, &s.Task, "tasks", id)
	refusal, _ := errors.AsType[*apiError](err)
	gone := refusal != nil && refusal.code == taskfeed.CodeNotFound
	if err != nil && !gone {
		return nil, err
	}
	query := url.Values{"limit": {strconv.Itoa(maxPage)}}
	for {
		var page struct {
			Items   []json.RawMessage
			Next    string
			Summary json.RawMessage
		}
		if err := client.get(ctx, query, &page, "tasks", id, "events"); err != nil {
			return nil, err
		}
		s.Events = append(s.Events, page.Items...)
		if page.Summary != nil { // with the first page
			s.Summary = page.Summary
		}
		if page.Next == "" {
			return &s, nil
		}
		query.Set("after", page.Next)
	}
}

// print prints the story as one JSON object, or as a table for people.
func (s *story) print(p *printer) error {
	if p.output != outputTable {
		b, err := json.Marshal(s)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.out, "%s\n", b)
		return err
	}
	head, err := s.head(p)
	if err != nil {
		return err
	}
	rows := make([][]string, len(s.Events))
	for i, raw := range s.Events {
		if rows[i], err = stepRow(raw); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
	}
	if _, err := io.WriteString(p.out, head); err != nil || len(rows) == 0 {
		return err
	}
	return p.table([]string{"TIME", "ID", "TYPE", "VERSION", "AFTER", "FIELDS"}, rows)
}

// head formats what is printed above the events.
func (s *story) head(p *printer) (string, error) {
	var b strings.Builder
	if s.Task != nil {
		var t taskfeed.Task
		if err := json.Unmarshal(s.Task, &t); err != nil {
			return "", fmt.Errorf("read the answer: %w", err)
		}
		const most = 200
		for _, field := range [][2]string{
			{"id", t.ID}, {"user", t.UserID}, {"kind", t.Kind}, {"status", string(t.Status)}, {"progress", strconv.Itoa(t.Progress) + "%"},
			{"message", t.Message}, {"error", t.Error}, {"result", string(t.Result)}, {"version", strconv.FormatInt(t.Version, 10)},
			{"created", stampCell(t.CreatedAt)}, {"updated", stampCell(t.UpdatedAt)},
		} {
			if field[1] != "" {
				fmt.Fprintf(&b, "%-10s%s\n", field[0], p.paint(cell(field[1], most), false))
			}
		}
	} else {
		b.WriteString("the task has been deleted; its events that are kept:\n")
	}
	var sum struct {
		Events, Attempts int
		Steps            int     `json:"progress_steps"`
		Queued           float64 `json:"queued_ms"`
		Running          float64 `json:"running_ms"`
	}
	if err := json.Unmarshal(s.Summary, &sum); err != nil {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	fmt.Fprintf(&b, "\n%d events, %d attempts, %d steps; queued for %s, running for %s\n\n",
		sum.Events, sum.Attempts, sum.Steps, durationCell(sum.Queued), durationCell(sum.Running))
	return b.String(), nil
}

func stepRow(raw json.RawMessage) ([]string, error) {
	var e struct {
		listedEvent
		After *float64 `json:"since_previous_ms"`
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, err
	}
	after := "-"
	if e.After != nil {
		after = durationCell(*e.After)
	}
	return []string{stampCell(e.Timestamp), e.ID.String(), cell(e.Type, maxCell), strconv.FormatInt(e.Version, 10), after, tailFields(e.Data)}, nil
}
