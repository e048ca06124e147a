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
	var what checkup
	ss := newSettings(slices.Concat(cfg.databaseSettings(), cfg.engineSettings()))
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Compare the database, and the engine of gateways, with what this binary needs",
		Long: "doctor checks the server, the role, the version of the schema, its tables, indexes,\n" +
			"triggers and functions and who may use them, and whether notifications arrive. With\n" +
			"TASKFEED_ENGINE_URL it also checks the engine: each of its servers, the permissions,\n" +
			"and which cores publish there. It prints a line for each finding and changes nothing.\n" +
			"It exits with status 1 when there are problems.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(ss.read(in.Env), what.finish(&cfg, in.Env)); err != nil {
				return cli.Usage(err)
			}
			return doctor(cmd.Context(), in.Stdout, &cfg, what)
		},
	}
	cmd.Flags().BoolVar(&what.reconcile, "reconcile", false, "compare every row of the attached tables with its task, too")
	cmd.Flags().BoolVar(&what.engine, "engine", false, "check the engine alone, as a core needs it")
	cmd.Flags().BoolVar(&what.gateway, "gateway", false, "check the engine alone, as a gateway needs it")
	ss.register(cmd.Flags())
	return cmd
}

// checkup says what doctor looks at.
type checkup struct{ reconcile, engine, gateway bool }

// finish validates the settings that the checkup needs.
func (c *checkup) finish(cfg *config, env func(string) string) error {
	errs := []error{cfg.checkEngine()}
	c.engine = c.engine || c.gateway
	switch {
	case c.engine && cfg.relay.Engine.URLs == "":
		errs = append(errs, errors.New("TASKFEED_ENGINE_URL: it is missing"))
	case !c.engine && cfg.store.URL == "":
		errs = append(errs, errors.New("DATABASE_URL: it is missing; to check the engine alone: --engine, or --gateway on a gateway"))
	}
	if c.engine && c.reconcile {
		errs = append(errs, errors.New("--reconcile needs the database: leave out --engine and --gateway"))
	}
	if c.gateway {
		errs = append(errs, withoutDatabase(env))
	}
	return errors.Join(errs...)
}

// doctor prints what it finds, and returns an error when there are problems.
func doctor(ctx context.Context, out io.Writer, cfg *config, what checkup) error {
	var found []migrations.Finding
	well := "ok: the engine is as a core needs it"
	switch {
	case what.gateway:
		well = "ok: the engine is as a gateway needs it, and a core answers"
	case !what.engine:
		well = "ok: the database is as this binary needs it, and notifications arrive"
		var err error
		if found, err = inspectDatabase(ctx, cfg.store, what.reconcile); err != nil {
			return err
		}
	}
	if cfg.relay.Engine.URLs != "" {
		found = append(found, inspectEngine(ctx, cfg, what)...)
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
	_, err := fmt.Fprintln(out, well)
	return err
}

// inspectDatabase returns what is found in the database.
func inspectDatabase(ctx context.Context, cfg store.Config, reconcile bool) ([]migrations.Finding, error) {
	url := cfg.URL
	if cfg.ListenURL != "" {
		url = cfg.ListenURL
	}
	if err := checkSameDatabase(ctx, cfg); err != nil {
		if other, ok := errors.AsType[*store.OtherDatabaseError](err); ok {
			return []migrations.Finding{{Problem: true, Says: other.Error()}}, nil
		}
		return nil, err
	}
	found, err := migrations.Inspect(ctx, url)
	if err != nil {
		return nil, err
	}
	more, err := inspectUse(ctx, cfg, !slices.ContainsFunc(found, func(f migrations.Finding) bool { return f.Problem }))
	if err != nil {
		return nil, err
	}
	found = append(found, more...)
	if reconcile {
		if more, err = reconcileSources(ctx, cfg); err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return found, nil
}

// checkSameDatabase returns a *store.OtherDatabaseError when the two URLs lead to
// different databases.
func checkSameDatabase(ctx context.Context, cfg store.Config) error {
	if cfg.URL == "" || cfg.ListenURL == "" {
		return nil
	}
	st, err := store.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer st.Close()
	return st.CheckSameDatabase(ctx)
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
