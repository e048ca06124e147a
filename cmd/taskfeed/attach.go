package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/internal/presets"
	"github.com/taskfeed/taskfeed/store"
)

// attachKeys are the keys of a mapping, each a flag and a key of a file too.
var attachKeys = []struct{ key, usage string }{
	{"id", "id of a task: a column, or an SQL expression over the row r (default: the primary key)"},
	{"id_prefix", "text in front of ids (default: the name and a colon, for integers)"},
	{"user", "owner of a task: a column, an expression, or 'via=project_id, from=app.projects, key=id, user=owner_id' (default: user_id, owner_id or account_id)"},
	{"status", "status: a column, or an expression (default: status or state)"},
	{"map", "what values of the status mean: 'pending=queued, done=completed, *=none'"},
	{"progress", "progress from 0 to 100"},
	{"progress_unit", "percent, or fraction for 0 to 1"},
	{"message", "message"},
	{"result", "result"},
	{"result_json", "true: the result is text that holds JSON"},
	{"error", "error; its first line is shown"},
	{"kind", "kind (default: the name)"},
	{"when", "condition for rows that are tasks: 'r.parent_id IS NULL'"},
	{"on_delete", "what a deletion means: deleted, keep, or 'queued=canceled, running=completed, final=keep'"},
	{"on_truncate", "what TRUNCATE means: reset or deleted"},
	{"created_at", "when the row was created"},
	{"timezone", "time zone of created_at, where it has none"},
	{"backfill", "rows that become tasks at once: open, all, none, or 'since 2026-01-31'"},
	{"strict", "true: a mapping that fails makes the app's write fail"},
	{"trust_owner", "true: the owner of the table may run code with the rights of the schema taskfeed"},
}

type attachFlags struct {
	name, file    string
	schema, with  string // of a preset
	dryRun, print bool
	values        map[string]*string // by key
}

func attachCommand(in *cli.Invocation) *cobra.Command {
	var cfg config
	f := attachFlags{values: map[string]*string{}}
	ss := newSettings(cfg.databaseSettings())
	cmd := &cobra.Command{
		Use:   "attach [TABLE | LIBRARY]",
		Short: "Make the rows of a table tasks of their owners",
		Long: "attach makes the rows of a table tasks: their owners see them live, without a change in\n" +
			"the app. It adds triggers to the table and nothing else. Run again, it changes nothing;\n" +
			"with another mapping, it replaces the old one. Without a table it lists those that could\n" +
			"be attached. The mappings of these libraries are known:\n" +
			strings.Join(presetNames(), ", ") + ".\n" +
			"docs/ATTACH.md explains the mapping.",
		Example: "  taskfeed attach app.exports --user owner_id --status state --map 'pending=queued, done=completed' --dry-run\n" +
			"  taskfeed attach river --user \"args->>'user_id'\" --with error --dry-run\n" +
			"  taskfeed attach -f exports.yaml",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			st, err := openDatabase(cmd.Context(), in, &cfg, ss)
			if err != nil {
				return err
			}
			defer st.Close()
			if len(args) == 0 && f.file == "" {
				return listCandidates(cmd.Context(), st, in.Stdout)
			}
			a, err := f.attachment(cmd, args)
			if err != nil {
				return cli.Usage(err)
			}
			if a.preset != "" {
				if err := a.usePreset(cmd.Context(), st); err != nil {
					return err
				}
			}
			return f.attach(cmd.Context(), st, a, in.Stdout)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "", "name of the source, 1 to 30 of a-z, 0-9 and _ (default: the table's name)")
	flags.StringVarP(&f.file, "file", "f", "", "file with table, name and the mapping, as YAML of plain keys and values, or as JSON")
	flags.StringVar(&f.schema, "schema", "", "schema of the library's tables, where there are several")
	flags.StringVar(&f.with, "with", "", "what of a library's jobs to show that is off by default: 'error, result, message'")
	flags.BoolVar(&f.dryRun, "dry-run", false, "change nothing: say what the mapping makes of the rows there are; exit status 0, 1 if it is refused, 2 with warnings")
	flags.BoolVar(&f.print, "print", false, "change nothing: print the SQL")
	for _, k := range attachKeys {
		f.values[k.key] = flags.String(strings.ReplaceAll(k.key, "_", "-"), "", k.usage)
	}
	ss.register(flags)
	return cmd
}

// openDatabase reads the settings of a command that needs the database.
func openDatabase(ctx context.Context, in *cli.Invocation, cfg *config, ss *settings) (*store.Store, error) {
	if err := ss.read(in.Env); err != nil {
		return nil, cli.Usage(err)
	}
	if cfg.store.URL == "" {
		return nil, cli.Usage(errors.New("DATABASE_URL: it is missing"))
	}
	return store.Open(ctx, cfg.store)
}

// attachment is what attach is told.
type attachment struct {
	table, name    string
	mapping        map[string]any
	preset, schema string // a library instead of a table
	with           []string
	library        *store.Library // what the preset found
}

// attachment reads the file, if there is one, and then the flags, which win.
func (f *attachFlags) attachment(cmd *cobra.Command, args []string) (a attachment, err error) {
	a.mapping = map[string]any{}
	if f.file != "" {
		if err := a.readFile(f.file); err != nil {
			return a, err
		}
	}
	if len(args) > 0 {
		a.table, a.preset = args[0], ""
		if _, ok := presets.Find(args[0]); ok {
			a.table, a.preset = "", args[0]
		}
	}
	a.schema = cmp.Or(f.schema, a.schema)
	if f.with != "" {
		a.with = listed(f.with)
	}
	switch {
	case a.table == "" && a.preset == "":
		return a, errors.New("name the table: as an argument, or by the key table of the file")
	case a.table != "" && a.preset != "":
		return a, errors.New("name either the table or the preset")
	case a.preset == "" && (a.schema != "" || len(a.with) > 0):
		return a, fmt.Errorf("schema and with are for the libraries that are known: %s", strings.Join(presetNames(), ", "))
	}
	for _, k := range attachKeys {
		flag := strings.ReplaceAll(k.key, "_", "-")
		if !cmd.Flags().Changed(flag) {
			continue
		}
		if a.mapping[k.key], err = flagValue(k.key, *f.values[k.key]); err != nil {
			return a, fmt.Errorf("--%s: %w", flag, err)
		}
	}
	if a.name = cmp.Or(f.name, a.name); a.preset == "" {
		a.name = cmp.Or(a.name, defaultName(a.table))
	}
	return a, nil
}

// defaultName makes a name for a source from that of its table.
func defaultName(table string) string {
	return strings.ToLower(strings.Trim(table[strings.LastIndexByte(table, '.')+1:], `"`))
}

// flagValue reads the text of a flag as the mapping has it.
func flagValue(key, text string) (any, error) {
	switch {
	case key == "map" || key == "on_delete" && strings.Contains(text, "="):
		return pairs(text)
	case key == "result_json" || key == "strict" || key == "trust_owner":
		if text != "true" && text != "false" {
			return nil, fmt.Errorf("%q is neither true nor false", text)
		}
		return text == "true", nil
	case (key == "user" || key == "kind") && strings.HasPrefix(text, "via="):
		return pairs(text)
	case slices.Contains([]string{"progress", "user", "kind"}, key) && strings.HasPrefix(text, "{"):
		var object map[string]any
		if err := json.Unmarshal([]byte(text), &object); err != nil {
			return nil, fmt.Errorf("it is no JSON object: %w", err)
		}
		return object, nil
	}
	return text, nil
}

// pairs reads "pending=queued, done=completed" and "via=project_id, from=app.projects".
func pairs(text string) (map[string]any, error) {
	object := map[string]any{}
	for pair := range strings.SplitSeq(text, ",") {
		value, status, ok := strings.Cut(pair, "=")
		if value = strings.TrimSpace(value); !ok || value == "" {
			return nil, fmt.Errorf("%q is not of the form value=status", strings.TrimSpace(pair))
		}
		object[value] = strings.TrimSpace(status)
	}
	return object, nil
}

func (a *attachment) readFile(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if a.mapping, err = parseAttachFile(text); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := a.takePreset(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// attachReport is what the schema says of an attachment.
type attachReport struct {
	Name, Table, Attached, SQL string
	MayDetach                  bool `json:"may_detach"`
	Partitioned                bool
	Sample                     struct {
		Rows         int
		Values       map[string]int
		WithoutOwner int `json:"without_owner"`
		Crowded      int // with more owners than a task can have
		Owners       []json.RawMessage
		IDs          []string
	}
	Unmapped []string
	Mapping  struct{ Map map[string]string }
}

func (f *attachFlags) attach(ctx context.Context, st *store.Store, a attachment, out io.Writer) error {
	mapping, err := json.Marshal(a.mapping)
	if err != nil {
		return err
	}
	text, err := st.Attach(ctx, a.table, a.name, mapping, f.dryRun || f.print)
	if e, ok := errors.AsType[*taskfeed.Error](err); ok && e.Code == taskfeed.CodeBadRequest {
		return errors.New(e.Message) // it says what to write instead
	}
	if err != nil {
		return err
	}
	var r attachReport
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("read the report: %w", err)
	}
	if f.print {
		_, err := fmt.Fprintln(out, r.SQL)
		return err
	}
	if a.library != nil {
		if _, err := io.WriteString(out, printableLines(describeLibrary(*a.library))); err != nil {
			return err
		}
	}
	if err := r.print(out); err != nil || !f.dryRun {
		return err
	}
	n := len(r.warnings())
	if a.library != nil {
		if _, known := knownVersion(*a.library); !known {
			n++
		}
	}
	if n > 0 {
		return cli.Status(dryRunWarns, fmt.Errorf("there are warnings: %d; without --dry-run the table is attached all the same", n))
	}
	return nil
}

// dryRunWarns is the exit status of a dry run with warnings. A mapping that is refused
// makes it 1.
const dryRunWarns = 2

// warnings are what its reader should look at before the table is attached.
func (r *attachReport) warnings() (all []string) {
	if len(r.Unmapped) > 0 {
		all = append(all, fmt.Sprintf("the map does not name all statuses, and rows with others make no event: add to --map %s", strings.Join(r.Unmapped, "=…, ")+"=…"))
	}
	if n := r.Sample.WithoutOwner; n > 0 {
		all = append(all, fmt.Sprintf("%d have no owner, so nobody sees them: see whether --user is right, or leave them out by --when", n))
	}
	if n := r.Sample.Crowded; n > 0 {
		all = append(all, fmt.Sprintf("%d have more than 64 owners, and the others are not told", n))
	}
	if !r.MayDetach {
		all = append(all, fmt.Sprintf("only the owner of %s can detach it later, for only the owner may drop a trigger", r.Table))
	}
	return all
}

// print says what was attached, or would be.
func (r *attachReport) print(out io.Writer) error {
	var b strings.Builder
	done := cmp.Or(map[string]string{"new": "attached", "changed": "attached with another mapping", "repaired": "attached again: its triggers were missing",
		"unchanged": "attached already, nothing changed"}[r.Attached], "would be attached; nothing was changed")
	fmt.Fprintf(&b, "%s: %s as %s\n", done, r.Table, r.Name)
	fmt.Fprintf(&b, "of the latest %d rows:\n", r.Sample.Rows)
	for _, value := range slices.Sorted(maps.Keys(r.Sample.Values)) {
		fmt.Fprintf(&b, "  %6d have the status %s: %s\n", r.Sample.Values[value], value, cmp.Or(r.Mapping.Map[value], r.Mapping.Map["*"], "no event, for the map does not name it"))
	}
	if len(r.Sample.IDs) > 0 {
		fmt.Fprintf(&b, "ids: %s\n", strings.Join(r.Sample.IDs, ", "))
	}
	if len(r.Sample.Owners) > 0 {
		owners := make([]string, 0, len(r.Sample.Owners))
		for _, o := range r.Sample.Owners {
			owners = append(owners, strings.Trim(string(o), "[]"))
		}
		fmt.Fprintf(&b, "owners, to compare with the sub of your tokens: %s\n", strings.Join(owners, ", "))
	}
	for _, w := range r.warnings() {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	if r.Partitioned {
		b.WriteString("note: TRUNCATE and DROP of a partition are not seen\n")
	}
	_, err := io.WriteString(out, printableLines(b.String()))
	return err
}

func listCandidates(ctx context.Context, st *store.Store, out io.Writer) error {
	candidates, err := st.Candidates(ctx)
	if err != nil {
		return err
	}
	libraries, err := st.Libraries(ctx)
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString(suggestLibraries(libraries))
	for _, c := range candidates {
		fmt.Fprintf(&b, "taskfeed attach %s --name %s --dry-run\n", c.Table, c.Name)
	}
	if b.Len() == 0 {
		b.WriteString("no table has a column user_id, owner_id or account_id beside a status or state, and none is of a library that is known; name the table and say what its columns are, see taskfeed attach --help\n")
	}
	_, err = io.WriteString(out, printableLines(b.String()))
	return err
}

func detachCommand(in *cli.Invocation) *cobra.Command {
	var cfg config
	var tasks string
	ss := newSettings(cfg.databaseSettings())
	cmd := &cobra.Command{
		Use:   "detach NAME",
		Short: "End what attach began: the table is as it was",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			st, err := openDatabase(cmd.Context(), in, &cfg, ss)
			if err != nil {
				return err
			}
			defer st.Close()
			if tasks != "keep" && tasks != "delete" {
				return cli.Usage(errors.New("--tasks must be keep or delete"))
			}
			text, err := st.Detach(cmd.Context(), args[0], tasks == "delete")
			if err != nil {
				return err
			}
			return printDetached(text, in.Stdout)
		},
	}
	cmd.Flags().StringVar(&tasks, "tasks", "keep", "keep the tasks until they are old, or delete them and tell their users")
	ss.register(cmd.Flags())
	return cmd
}

func printDetached(text json.RawMessage, out io.Writer) error {
	var r struct {
		Name, Table, Detached, Reason string
		RunAsOwner                    []string `json:"run_as_owner"`
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("read the report: %w", err)
	}
	says := fmt.Sprintf("detached: nothing of taskfeed is left on %s\n", r.Table)
	switch {
	case r.Detached == "unchanged":
		says = fmt.Sprintf("there is no source %s\n", r.Name)
	case r.Reason != "":
		says = fmt.Sprintf("%s is captured no more, but its triggers are there: %s\n  %s;\nThen run taskfeed detach %s again.\n", r.Table, r.Reason, strings.Join(r.RunAsOwner, ";\n  "), r.Name)
	}
	if _, err := io.WriteString(out, printableLines(says)); err != nil {
		return err
	}
	if r.Reason != "" {
		return errors.New("the table is not detached yet")
	}
	return nil
}

func sourcesCommand(in *cli.Invocation) *cobra.Command {
	var cfg config
	var again string
	ss := newSettings(cfg.databaseSettings())
	cmd := &cobra.Command{
		Use:   "sources",
		Short: "List the attached tables and what is wrong with them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			st, err := openDatabase(cmd.Context(), in, &cfg, ss)
			if err != nil {
				return err
			}
			defer st.Close()
			if again != "" {
				return readAgain(cmd.Context(), st, again, in.Stdout)
			}
			sources, err := st.Sources(cmd.Context())
			if err != nil {
				return err
			}
			rows := make([][]string, 0, len(sources))
			for _, s := range sources {
				rows = append(rows, []string{s.Name, s.Table, fmt.Sprint(s.Errors), fmt.Sprint(s.Unmapped), fmt.Sprint(s.Unowned), health(s)})
			}
			return newPrinter(in, outputTable).table([]string{"NAME", "TABLE", "ERRORS", "UNMAPPED", "UNOWNED", "STATE"}, rows)
		},
	}
	cmd.Flags().StringVar(&again, "read-again", "", "read all rows of this source again: users get events for what differs")
	ss.register(cmd.Flags())
	return cmd
}

// health says in one line how a source is.
func health(s store.Source) string {
	switch {
	case s.Problem != "":
		return s.Problem + ": " + s.Remedy
	case s.Reading:
		return "its rows are being read"
	case len(s.Unknown) > 0:
		problem, remedy := s.Advice()
		return problem + ": " + remedy
	case s.LastError != "":
		return "last error" + errorTime(s) + ": " + s.LastError + "; if errors go on, correct the rows or attach it again with a mapping that reads them"
	}
	return "well"
}

func errorTime(s store.Source) string {
	if s.ErrorAt == nil {
		return ""
	}
	return " at " + s.ErrorAt.UTC().Format(time.DateTime) + " UTC"
}

// printableLines keeps what others chose from giving orders to a terminal.
func printableLines(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(oneLine(strings.TrimSuffix(line, "\n")) + "\n")
	}
	return b.String()
}
