package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/forward"
	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/internal/logs"
	"github.com/taskfeed/taskfeed/store"
)

// forwardConns are the connections of a forwarder: it reads and writes one thing at a
// time.
const forwardConns = 6

// forwardOptions are the configuration of forward.
type forwardOptions struct {
	config
	forward forward.Config
	types   []string
	after   string
	secrets string
	output  string
}

func (o *forwardOptions) named() []*setting {
	return append(o.databaseSettings(), &setting{"TASKFEED_FORWARD_NAME", "name by which the database keeps how far the events were sent", "", text(&o.forward.Name)})
}

// endpoint has the settings of what sends to an endpoint.
func (o *forwardOptions) endpoint() []*setting {
	return append(o.named(), []*setting{
		{"TASKFEED_FORWARD_TO", "URL of the endpoint, https://…", "", text(&o.forward.URL)},
		{"TASKFEED_FORWARD_SECRET", "secret that signs what is sent, whsec_…; several, separated by commas, while it is changed", "", text(&o.secrets)},
		{"TASKFEED_FORWARD_ALLOW_PRIVATE", "allow http, and endpoints at private addresses", "false", boolean(&o.forward.AllowPrivate)},
		{"TASKFEED_FORWARD_TIMEOUT", "time that one request may take", "15s", duration(&o.forward.Timeout, 100*time.Millisecond, false)},
	}...)
}

// settings are those of forward itself, and with that all.
func (o *forwardOptions) settings() []*setting {
	return append(append(o.endpoint(), []*setting{
		{"TASKFEED_FORWARD_TYPES", "types of the events to send, separated by commas (default: all)", "", list(&o.types)},
		{"TASKFEED_FORWARD_USER", "send only the feed of this user (default: the events of all)", "", text(&o.forward.UserID)},
		{"TASKFEED_FORWARD_AFTER", "where a new name begins: after the event with this id; 0 sends every event that is kept (default: with the next event)", "", text(&o.after)},
		{"TASKFEED_FORWARD_UNLESS_READ", "delay each event by so long, and leave it out if its user has read it by then", "off", duration(&o.forward.UnlessRead, time.Second, true)},
		{"TASKFEED_FORWARD_PARALLEL", "requests at the same time", "16", number(&o.forward.Parallel, 1, false)},
		{"TASKFEED_FORWARD_GIVE_UP_AFTER", "how long an event is tried before it becomes a failure", "24h", duration(&o.forward.GiveUpAfter, time.Second, false)},
		{"TASKFEED_FORWARD_DRAIN", "time that requests under way may take to end at shutdown", "10s", duration(&o.forward.Drain, time.Second, false)},
		{"TASKFEED_FORWARD_LEASE", "time after which another process with the same name takes over from one that has died or hears nothing from the database", "15s", duration(&o.forward.Lease, time.Second, false)},
	}...), o.logSettings()...)
}

// complete validates the options; those of an endpoint are checked by package forward.
func (o *forwardOptions) complete() error {
	var errs []error
	if o.store.URL == "" {
		errs = append(errs, errors.New("DATABASE_URL: it is missing"))
	}
	if err := forward.CheckName(o.forward.Name); err != nil {
		errs = append(errs, fmt.Errorf("--name: %w", err))
	}
	secrets, err := forward.ParseSecrets(o.secrets)
	if err != nil {
		errs = append(errs, fmt.Errorf("TASKFEED_FORWARD_SECRET: %w", err))
	}
	if o.forward.Secrets = secrets; o.after != "" {
		cursor, err := taskfeed.ParseCursor(o.after)
		if err != nil {
			errs = append(errs, fmt.Errorf("--after: %w", err))
		}
		o.forward.After = &cursor
	}
	for _, t := range o.types {
		o.forward.Types = append(o.forward.Types, taskfeed.Type(t))
	}
	o.forward.UnlessRead = max(o.forward.UnlessRead, 0)
	o.store.MaxConns = forwardConns
	return errors.Join(errs...)
}

// completeEndpoint is complete for a command that sends.
func (o *forwardOptions) completeEndpoint() error {
	err := o.complete()
	if o.forward.URL == "" {
		err = errors.Join(err, errors.New("--to: it is missing; name the endpoint, https://…"))
	}
	if o.secrets == "" {
		err = errors.Join(err, errors.New("TASKFEED_FORWARD_SECRET: it is missing; make one, for example with: echo whsec_$(openssl rand -base64 32)"))
	}
	return err
}

// registerForward adds the flags of the settings to a command.
func registerForward(cmd *cobra.Command, ss *settings) {
	ss.register(cmd.Flags())
	if flag := cmd.Flags().Lookup("allow-private"); flag != nil {
		flag.NoOptDefVal = "true"
	}
}

func forwardCommand(in *cli.Invocation) *cobra.Command {
	var o forwardOptions
	ss := newSettings(o.settings())
	cmd := &cobra.Command{
		Use:   "forward",
		Short: "Send events to an HTTPS endpoint as signed webhooks",
		Long: "forward sends the events of the log to an endpoint as Standard Webhooks, at least once\n" +
			"and in order for each user. It runs beside servers. The database keeps by name how far\n" +
			"it came; of several processes with one name, one works and the others wait. Events that\n" +
			"the endpoint does not take are sent again for a day and then kept as failures.\n\n" +
			"Every flag can be set by the environment variable after it, or by that name with\n" +
			"_FILE and the path of a file. The secret is TASKFEED_FORWARD_SECRET.",
		Example: "  taskfeed forward --name crm --to https://example.com/hooks\n  taskfeed forward failures --name crm\n  taskfeed forward retry --name crm --to https://example.com/hooks\n  taskfeed forward delete --name crm --yes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(ss.read(in.Env), o.completeEndpoint()); err != nil {
				return cli.Usage(err)
			}
			return runForward(cmd.Context(), in, &o)
		},
	}
	registerForward(cmd, ss)
	cmd.AddCommand(forwardFailuresCommand(in), forwardRetryCommand(in), forwardDeleteCommand(in))
	return cmd
}

func runForward(ctx context.Context, in *cli.Invocation, o *forwardOptions) error {
	lines := newSink(in.Stderr, o.log)
	defer lines.Close()
	logger := newLogger(lines, o.log)
	defer logs.Flush(logger.Handler())
	for _, name := range unknown(in.Environ, nil) {
		if strings.HasPrefix(name, "TASKFEED_FORWARD_") {
			logger.Warn("unknown setting ignored", "name", name)
		}
	}
	o.store.Logger, o.forward.Logger = logger, logger
	st, err := store.Open(ctx, o.store)
	if err != nil {
		return err
	}
	defer st.Close()
	f, err := forward.New(st, st, o.forward)
	if err != nil {
		return cli.Usage(err)
	}
	return f.Run(ctx)
}

func forwardFailuresCommand(in *cli.Invocation) *cobra.Command {
	var o forwardOptions
	ss := newSettings(o.named())
	cmd := &cobra.Command{
		Use:   "failures",
		Short: "List the events that an endpoint did not take",
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := errors.Join(ss.read(in.Env), o.complete())
			if o.output != outputTable && o.output != outputNDJSON {
				err = errors.Join(err, errors.New("--output: must be table or ndjson"))
			}
			if err != nil {
				return cli.Usage(err)
			}
			st, err := store.Open(cmd.Context(), o.store)
			if err != nil {
				return err
			}
			defer st.Close()
			return listFailures(cmd.Context(), in, st, &o)
		},
	}
	cmd.Flags().StringVar(&o.output, "output", outputTable, "table, or ndjson: each with its body")
	registerForward(cmd, ss)
	return cmd
}

// listFailures prints failures page by page.
func listFailures(ctx context.Context, in *cli.Invocation, st *store.Store, o *forwardOptions) error {
	const pageSize = 50 // their bodies may be large
	p := newPrinter(in, o.output)
	after := taskfeed.Cursor(0)
	for {
		found, err := st.ForwardFailures(ctx, o.forward.Name, after, pageSize)
		if err != nil || len(found) == 0 {
			return err
		}
		after = found[len(found)-1].EventID
		if o.output == outputNDJSON {
			err = p.items(failureItems(found))
		} else {
			err = p.table([]string{"EVENT", "USER", "TYPE", "TRIES", "FAILED AT", "REASON"}, failureRows(found))
		}
		if err != nil {
			return err
		}
	}
}

func failureRows(found []store.ForwardFailure) (rows [][]string) {
	for _, f := range found {
		rows = append(rows, []string{f.EventID.String(), cell(cmp.Or(f.UserID, "-"), maxCell), cell(string(f.Type), maxCell),
			strconv.Itoa(f.Tries), stampCell(f.FailedAt), cell(f.Reason, maxCell)})
	}
	return rows
}

func failureItems(found []store.ForwardFailure) (items []json.RawMessage) {
	for _, f := range found {
		item, _ := json.Marshal(struct { // of texts and numbers alone, apart from the body, which is JSON
			EventID  taskfeed.Cursor `json:"event_id"`
			UserID   string          `json:"user_id,omitempty"`
			Type     taskfeed.Type   `json:"type"`
			Tries    int             `json:"tries"`
			Reason   string          `json:"reason"`
			FailedAt time.Time       `json:"failed_at"`
			Body     json.RawMessage `json:"body"`
		}{f.EventID, f.UserID, f.Type, f.Tries, f.Reason, f.FailedAt.UTC(), json.RawMessage(f.Body)})
		items = append(items, item)
	}
	return items
}

func forwardRetryCommand(in *cli.Invocation) *cobra.Command {
	var o forwardOptions
	ss := newSettings(o.endpoint())
	cmd := &cobra.Command{
		Use:   "retry",
		Short: "Send the events again that an endpoint did not take",
		Long: "retry sends the failures of a name again, oldest first and once each. Those that are\n" +
			"delivered are no failures any longer. It runs beside forward, whose newer events may\n" +
			"arrive earlier. The exit status is 1 when events are left.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(ss.read(in.Env), o.completeEndpoint()); err != nil {
				return cli.Usage(err)
			}
			st, err := store.Open(cmd.Context(), o.store)
			if err != nil {
				return err
			}
			defer st.Close()
			return retryFailures(cmd.Context(), in, st, &o)
		},
	}
	registerForward(cmd, ss)
	return cmd
}

func retryFailures(ctx context.Context, in *cli.Invocation, st *store.Store, o *forwardOptions) error {
	r, err := forward.Resend(ctx, st, o.forward)
	fmt.Fprintf(in.Stdout, "delivered: %d, failed again: %d, held back behind those: %d\n", r.Delivered, r.Failed, r.Held)
	switch {
	case err != nil:
		return err
	case r.Stopped:
		return errors.New("the endpoint took none of the last events: the rest was not tried")
	case r.Failed > 0:
		return errors.New("the endpoint did not take all of them: taskfeed forward failures says why")
	}
	return nil
}

func forwardDeleteCommand(in *cli.Invocation) *cobra.Command {
	var o forwardOptions
	var sure bool
	ss := newSettings(o.named())
	cmd := &cobra.Command{
		Use:   "delete",
		Short: "Delete a name that is no longer used, with its failures",
		Long: "delete removes how far the events of a name were sent, and its failures. The name is then\n" +
			"a new one. It is refused while a process forwards under the name.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := errors.Join(ss.read(in.Env), o.complete())
			if err == nil && !sure {
				err = errors.New("this deletes the events that could not be forwarded for good; confirm with --yes")
			}
			if err != nil {
				return cli.Usage(err)
			}
			st, err := store.Open(cmd.Context(), o.store)
			if err != nil {
				return err
			}
			defer st.Close()
			return deleteForward(cmd.Context(), in, st, o.forward.Name)
		},
	}
	cmd.Flags().BoolVar(&sure, "yes", false, "confirm that the failures are deleted")
	registerForward(cmd, ss)
	return cmd
}

func deleteForward(ctx context.Context, in *cli.Invocation, st *store.Store, name string) error {
	d, err := st.DeleteForward(ctx, name)
	switch {
	case err != nil:
		return err
	case d.Held:
		return errors.New("a process forwards under this name, or has died a moment ago: end it first, or wait")
	case d.Forwards+d.Failures == 0:
		return errors.New("there is no forward of this name")
	}
	_, err = fmt.Fprintf(in.Stdout, "deleted: how far %s was sent, %d failures\n", name, d.Failures)
	return err
}
