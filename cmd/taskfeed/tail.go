package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/client"
	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/internal/logs"
	"github.com/taskfeed/taskfeed/internal/terminal"
)

// tailTokenTTL is how long a token is valid that tail signs itself. The client asks for
// the next one in time.
const tailTokenTTL = time.Hour

// tailOptions are the parsed flags of tail.
type tailOptions struct {
	feed   client.Config
	output string // text or ndjson
	quiet  bool
}

func tailCommand(in *cli.Invocation) *cobra.Command {
	var opts tailOptions
	var cfg config
	var token, after string
	var types, groups []string
	ss := newSettings([]*setting{
		{"TASKFEED_URL", "base URL of the server", "http://127.0.0.1:" + cmp.Or(in.Env("PORT"), "8080"), text(&opts.feed.URL)},
		{"TASKFEED_TOKEN", "token of the user; without one, tail signs its own with TASKFEED_JWT_SECRET", "", text(&token)},
	})
	signing := newSettings(cfg.tokenSettings()) // from the environment only
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Print a user's events as they happen",
		Long: "tail connects to a server as a user and prints each event on a line until it is\n" +
			"interrupted. When the connection is lost it connects again and resumes after the last\n" +
			"event. It prints the state of the connection on standard error.",
		Example: "  taskfeed tail --user alice\n  taskfeed tail --user alice --after 0 --output ndjson | jq .type",
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := errors.Join(ss.read(in.Env), signing.read(in.Env), opts.complete(after, types, groups))
			if err == nil {
				cfg.auth.Secret = []byte(cfg.secret)
				opts.feed.Token, err = tailToken(token, cfg.auth, opts.feed.UserID, opts.feed.Feeds)
			}
			if err != nil {
				return cli.Usage(err)
			}
			return tail(cmd.Context(), opts, in.Stdout, in.Stderr)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.feed.UserID, "user", "", "id of the user")
	flags.StringVar(&after, "after", "", "begin after the event with this id; 0 prints every event that is kept (default: live events only)")
	flags.StringSliceVar(&types, "types", nil, "print only events of these types, separated by commas")
	flags.StringVar(&opts.feed.TaskID, "task", "", "print only events of this task")
	flags.StringArrayVar(&groups, "feed", nil, "print the events of this group too, which the token must list; may be repeated")
	flags.StringVar(&opts.output, "output", "text", "text, or ndjson: each frame unchanged, including feed_live and feed_reset")
	flags.BoolVar(&opts.quiet, "quiet", false, "do not print the state of the connection")
	ss.register(flags)
	return cmd
}

// complete validates the flags and parses those that are not plain text.
func (o *tailOptions) complete(after string, types, groups []string) error {
	var errs []error
	if o.feed.UserID == "" {
		errs = append(errs, errors.New("--user is missing: name the user with --user"))
	}
	if o.output != "text" && o.output != "ndjson" {
		errs = append(errs, errors.New("--output: must be text or ndjson"))
	}
	if after != "" {
		cursor, err := taskfeed.ParseCursor(after)
		if err != nil {
			errs = append(errs, fmt.Errorf("--after: %w", err))
		}
		o.feed.After = &cursor
	}
	if len(groups) > 0 {
		o.feed.Feeds = append([]string{o.feed.UserID}, groups...)
	}
	for _, t := range types {
		o.feed.Types = append(o.feed.Types, taskfeed.Type(t))
	}
	return errors.Join(errs...)
}

// tailToken returns the token, or without one a function that signs tokens.
func tailToken(token string, cfg auth.Config, userID string, feeds []string) (client.TokenFunc, error) {
	if token != "" {
		return client.StaticToken(token), nil
	}
	if len(cfg.Secret) == 0 {
		return nil, errors.New("TASKFEED_TOKEN: it is missing; set it to a token of the user, or TASKFEED_JWT_SECRET to the server's secret")
	}
	sign := func() (string, error) { return issueToken(cfg, userID, "", tailTokenTTL, feeds...) }
	if _, err := sign(); err != nil {
		return nil, err
	}
	return func(context.Context, client.TokenReason) (string, error) { return sign() }, nil
}

// tail prints the feed on stdout and the state of the connection on stderr. It returns
// nil when ctx is done, and an error when the feed cannot go on.
func tail(ctx context.Context, opts tailOptions, stdout, stderr io.Writer) error {
	p := &tailPrinter{out: stdout, raw: opts.output == "ndjson"}
	cfg := opts.feed
	cfg.OnFrame = p.frame
	cfg.OnReset = func(context.Context, taskfeed.ResetReason, taskfeed.Cursor) error { return p.err }
	if !opts.quiet {
		cfg.OnState = func(c client.StateChange) { tailState(stderr, c, cfg.URL) }
	}
	feed, err := client.New(cfg)
	if err != nil {
		return cli.Usage(err)
	}
	return tailAdvice(feed.Run(ctx, func(context.Context, taskfeed.Event) error { return p.err }), cfg.UserID)
}

// tailAdvice adds advice to an error.
func tailAdvice(err error, userID string) error {
	switch {
	case errors.Is(err, client.ErrRejected):
		return fmt.Errorf("%w; get a new token, for example with taskfeed token --user %q", err, userID)
	case errors.Is(err, client.ErrForbidden):
		return fmt.Errorf("%w; use a token of the user %q", err, userID)
	}
	return err
}

func tailState(w io.Writer, c client.StateChange, url string) {
	switch c.State {
	case client.StateConnecting:
		fmt.Fprintln(w, "-- connecting to", url)
	case client.StateWaiting:
		fmt.Fprintf(w, "-- %s; next try in %s\n", logs.Redact(c.Err.Error()), c.Delay.Round(time.Millisecond))
	case client.StateReplaying, client.StateLive:
		fmt.Fprintln(w, "--", c.State)
	}
}

// tailPrinter prints frames, one a line. It keeps the first error of its writer, because
// OnFrame cannot return it.
type tailPrinter struct {
	out io.Writer
	raw bool
	err error
}

func (p *tailPrinter) frame(f taskfeed.Frame, raw []byte) {
	line := tailLine(f)
	if p.raw {
		var buf bytes.Buffer
		_ = json.Compact(&buf, raw) // a frame is JSON; compact, it is one line
		line = buf.String()
	}
	if line == "" || p.err != nil {
		return
	}
	_, p.err = io.WriteString(p.out, line+"\n")
}

// tailLine formats a frame for people: time, id, type, task and fields. It returns ""
// for a feed_live, which is shown as a state on standard error.
func tailLine(f taskfeed.Frame) string {
	switch f.Type {
	case taskfeed.TypeFeedLive:
		return ""
	case taskfeed.TypeFeedReset:
		return fmt.Sprintf("%-24s %8d  %-14s -  reason=%q", "-", f.Cursor, f.Type, f.Reason)
	}
	e := f.Event
	const layout = "2006-01-02T15:04:05.000Z"
	fields := tailFields(e.Data)
	if e.UserID != "" {
		fields = strings.TrimSpace("feed=" + strconv.Quote(e.UserID) + " " + fields)
	}
	line := fmt.Sprintf("%s %8d  %-14s %s  %s", e.Timestamp.UTC().Format(layout), e.ID,
		terminal.Printable(string(e.Type)), terminal.Printable(cmp.Or(e.TaskID, "-")), fields)
	return strings.TrimRight(line, " ")
}

// tailFields formats the fields of an event in the order of their names, each truncated
// to fit on a line.
func tailFields(data json.RawMessage) string {
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(data, &fields) // the client has parsed it before
	parts := make([]string, 0, len(fields))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		const most = 80
		value := []rune(tailValue(fields[name]))
		if len(value) > most {
			value = append(value[:most-1], '…')
		}
		parts = append(parts, terminal.Printable(name)+"="+string(value))
	}
	return strings.Join(parts, " ")
}

func tailValue(raw json.RawMessage) string {
	var text string
	if err := json.Unmarshal(raw, &text); err == nil && string(raw) != "null" {
		return strconv.Quote(text)
	}
	return terminal.Printable(string(raw))
}
