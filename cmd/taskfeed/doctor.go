package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/internal/terminal"
	"github.com/taskfeed/taskfeed/migrations"
	"github.com/taskfeed/taskfeed/store"
)

func doctorCommand(in *cli.Invocation) *cobra.Command {
	var cfg config
	var reconcile bool
	ss := newSettings(cfg.databaseSettings())
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Compare the database with what this binary needs",
		Long: "doctor checks the server, the role, the version of the schema, its tables, indexes,\n" +
			"triggers and functions and who may use them, and whether notifications arrive. It\n" +
			"prints a line for each finding and changes nothing. It exits with status 1 when there\n" +
			"are problems.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := ss.read(in.Env); err != nil {
				return cli.Usage(err)
			}
			if cfg.store.URL == "" {
				return cli.Usage(errors.New("DATABASE_URL: it is missing"))
			}
			return doctor(cmd.Context(), in.Stdout, cfg.store, reconcile)
		},
	}
	cmd.Flags().BoolVar(&reconcile, "reconcile", false, "compare every row of the attached tables with its task, too")
	ss.register(cmd.Flags())
	return cmd
}

// doctor prints what it finds in the database, and returns an error when there are
// problems.
func doctor(ctx context.Context, out io.Writer, cfg store.Config, reconcile bool) error {
	url := cfg.URL
	if cfg.ListenURL != "" {
		url = cfg.ListenURL
	}
	found, err := migrations.Inspect(ctx, url)
	if err != nil {
		return err
	}
	more, err := inspectUse(ctx, cfg, !slices.ContainsFunc(found, func(f migrations.Finding) bool { return f.Problem }))
	if err != nil {
		return err
	}
	found = append(found, more...)
	if reconcile {
		if more, err = reconcileSources(ctx, cfg); err != nil {
			return err
		}
		found = append(found, more...)
	}
	problems := 0
	for _, f := range found {
		if f.Problem {
			problems++
		}
		if _, err := fmt.Fprintln(out, oneLine(f.String())); err != nil {
			return err
		}
	}
	if problems > 0 {
		return fmt.Errorf("problems found: %d", problems)
	}
	_, err = fmt.Fprintln(out, "ok: the database is as this binary needs it, and notifications arrive")
	return err
}

// quoted matches names as SQL quotes them.
var quoted = regexp.MustCompile(`"(?:[^"]|"")*"`)

// oneLine escapes line ends and control characters in names, which strangers may have
// chosen. Such a name is written as an SQL identifier with Unicode escapes, so that SQL
// in the text can still be run.
func oneLine(says string) string {
	says = quoted.ReplaceAllStringFunc(says, func(name string) string {
		if !strings.ContainsFunc(name, obeyed) {
			return name
		}
		var b strings.Builder
		b.WriteString("U&")
		for _, r := range name {
			switch {
			case obeyed(r):
				fmt.Fprintf(&b, `\+%06x`, r)
			case r == '\\':
				b.WriteString(`\\`)
			default:
				b.WriteRune(r)
			}
		}
		return b.String()
	})
	return terminal.Printable(says)
}

func obeyed(r rune) bool { return r == '\n' || r == '\t' || terminal.Obeyed(r) }

// inspectUse finds hazards that others have set up around the tables, sessions that hold
// a lock of taskfeed's without being a server, and whether notifications arrive. Errors
// count only if whole: with parts of the schema missing, not everything can be asked.
func inspectUse(ctx context.Context, cfg store.Config, whole bool) ([]migrations.Finding, error) {
	st, err := store.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	var found []migrations.Finding
	switch hazards, err := st.Hazards(ctx); {
	case err == nil:
		found = findings(hazards)
	case whole:
		return nil, err
	}
	if whole {
		sources, err := st.Sources(ctx)
		if err != nil {
			return nil, err
		}
		libraries, err := st.Libraries(ctx)
		if err != nil {
			return nil, err
		}
		found = append(found, inspectSources(sources)...)
		found = append(found, inspectLibraries(libraries)...)
	}
	found = append(found, findIntruders(ctx, st)...)
	found = append(found, findTempFileLimit(ctx, st)...)
	if err := tryListen(ctx, st); err != nil {
		found = append(found, migrations.Finding{Problem: true, Says: err.Error()})
	}
	return found, nil
}

// inspectSources tells what is wrong with attached tables.
func inspectSources(sources []store.Source) (found []migrations.Finding) {
	for _, s := range sources {
		if s.Problem != "" {
			found = append(found, migrations.Finding{Problem: true, Says: fmt.Sprintf("attached table %s: %s: %s", s.Name, s.Problem, s.Remedy)})
		} else if health := health(s); health != "well" {
			found = append(found, migrations.Finding{Says: fmt.Sprintf("attached table %s: %s", s.Name, health)})
		}
	}
	return found
}

// findIntruders finds sessions that hold a lock of taskfeed's without being a server.
func findIntruders(ctx context.Context, st *store.Store) (found []migrations.Finding) {
	intruders, err := st.Intruders(ctx)
	for _, f := range intruders {
		found = append(found, migrations.Finding{Problem: true, Says: f.String()})
	}
	if err != nil {
		found = append(found, migrations.Finding{Says: fmt.Sprintf("taskfeed's locks cannot be read: %v", err)})
	}
	return found
}

// roomToSort is how much a session should be able to sort on disk: a backlog of about
// a million changes.
const roomToSort = 64 << 20

// findTempFileLimit warns of a temp_file_limit at which sorting a large backlog fails.
// The server then moves it in small parts, so that is not a problem.
func findTempFileLimit(ctx context.Context, st *store.Store) []migrations.Finding {
	limit, err := st.TempFileLimit(ctx)
	switch {
	case err != nil:
		return []migrations.Finding{{Says: fmt.Sprintf("temp_file_limit cannot be read: %v", err)}}
	case limit < 0 || limit >= roomToSort:
		return nil
	}
	return []migrations.Finding{{Says: fmt.Sprintf("temp_file_limit is %d kB: a large backlog cannot be sorted on disk and is moved in small parts, "+
		"which takes longer; set it to %d MB or more for the role of the server", limit>>10, roomToSort>>20)}}
}

// tryListen checks whether notifications arrive; its error says what to do.
func tryListen(ctx context.Context, st *store.Store) error {
	err := st.CheckListen(ctx)
	if e, ok := errors.AsType[*taskfeed.Error](err); ok && e.Code == taskfeed.CodeInternal {
		return errors.New(e.Message)
	}
	return err
}

// findings returns hazards as doctor prints them.
func findings(found []store.Hazard) []migrations.Finding {
	var lines []migrations.Finding
	for _, h := range found {
		lines = append(lines, migrations.Finding{Problem: true, Says: h.Says})
	}
	return lines
}
