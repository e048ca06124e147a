package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed/internal/bench"
)

func benchCommand(in *invocation) *cobra.Command {
	var cfg bench.Config
	var file string
	var asJSON, quiet bool
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure taskfeed on this machine, each figure beside its baseline",
		Long: "bench starts a private Postgres and a server, measures, and prints a table. What\n" +
			"counts are the ratios: the variants take turns in one run. It takes some minutes.\n\n" +
			"Measurements: " + strings.Join(bench.Names(), ", "),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, name := range cfg.Only {
				if !slices.Contains(bench.Names(), name) {
					return usageError{fmt.Errorf("--only: there is no measurement %q; there are %s", name, strings.Join(bench.Names(), ", "))}
				}
			}
			if !quiet {
				cfg.Progress = in.stderr
			}
			report, err := bench.Run(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			return writeReport(in, &report, file, asJSON)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&file, "output", "", "write the report as Markdown to this file too")
	flags.BoolVar(&asJSON, "json", false, "print JSON instead of a table")
	flags.BoolVar(&quiet, "quiet", false, "no progress")
	flags.StringSliceVar(&cfg.Only, "only", nil, "measurements to make (default: all)")
	flags.DurationVar(&cfg.Step, "step", 0, "how long one measurement of one variant lasts (default 3s)")
	flags.IntVar(&cfg.Rounds, "rounds", 0, "how often the variants take turns (default 3)")
	flags.IntVar(&cfg.Writers, "writers", 0, "connections that update at once (default 16)")
	flags.IntVar(&cfg.Backlog, "backlog", 0, "changes to drain (default 400000)")
	flags.IntVar(&cfg.Connections, "connections", 0, "idle connections to open (default 5000)")
	return cmd
}

func writeReport(in *invocation, report *bench.Report, file string, asJSON bool) error {
	var errs []error
	if file != "" {
		var b bytes.Buffer
		errs = append(errs, report.WriteMarkdown(&b, "taskfeed bench"), os.WriteFile(file, b.Bytes(), 0o644))
	}
	if asJSON {
		out := json.NewEncoder(in.stdout)
		out.SetIndent("", "  ")
		return errors.Join(append(errs, out.Encode(report))...)
	}
	return errors.Join(append(errs, report.WriteTable(in.stdout))...)
}
