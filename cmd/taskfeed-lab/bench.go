package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/lab/bench"
)

func benchCommand(in *cli.Invocation) *cobra.Command {
	var cfg bench.Config
	var output, file string
	var quiet bool
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure taskfeed on this machine, each figure beside its baseline",
		Long: "bench starts a private Postgres and servers, measures, and prints a table. What\n" +
			"counts are the ratios: the variants take turns in one run. It takes about eight\n" +
			"minutes on two cores.\n\n" +
			"With --database-url it measures in that database instead, with users and tasks\n" +
			"of its own, bench-…, and tables in a schema of its own, and removes them\n" +
			"afterwards. What would be in others' way is left out.\n\n" +
			"Measurements: " + strings.Join(bench.Names(), ", "),
		Example: "  taskfeed-lab bench\n  taskfeed-lab bench --only writers,latency\n  taskfeed-lab bench --full --report docs/BENCHMARKS.md",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return cli.Usage(errors.New("--output must be table or json"))
			}
			if err := cfg.Validate(); err != nil {
				return cli.Usage(err)
			}
			var err error
			if cfg.Binary, err = findTaskfeed(cfg.Binary); err != nil {
				return err
			}
			if !quiet {
				cfg.Progress = in.Stderr
			}
			cfg.Version, cfg.Command = cli.Version(), benchLine(&cfg)
			report, err := bench.Run(cmd.Context(), cfg)
			if err != nil && len(report.Figures) == 0 {
				return err
			}
			return errors.Join(err, writeReport(in, &report, output, file, err == nil))
		},
	}
	taskfeedFlag(cmd, &cfg.Binary)
	flags := cmd.Flags()
	flags.StringVar(&output, "output", "table", "table or json")
	cli.CompleteFlag(cmd, "output", []string{"table", "json"})
	flags.StringVar(&file, "report", "", "write the report as Markdown to this file, too, and name what is worse than in the one that is there")
	flags.StringVar(&cfg.DatabaseURL, "database-url", "", "measure in this database, which must have the present schema, instead of a private one")
	flags.StringSliceVar(&cfg.Only, "only", nil, "measurements to make (default: all)")
	cli.CompleteFlag(cmd, "only", bench.Names())
	flags.BoolVar(&cfg.Full, "full", false, "measure with ten million events in the log, too: some minutes and 15 GB of disk more")
	flags.DurationVar(&cfg.Step, "step", 0, "how long one variant of a measurement lasts (default 800ms)")
	flags.IntVar(&cfg.Rounds, "rounds", 0, "how often the variants take turns (default 5)")
	flags.BoolVar(&quiet, "quiet", false, "no progress")
	return cmd
}

// benchLine is the command as the report shows it. A database's URL may hold a
// password.
func benchLine(cfg *bench.Config) string {
	line := "taskfeed-lab bench"
	if cfg.DatabaseURL != "" {
		line += " --database-url …"
	}
	if len(cfg.Only) > 0 {
		line += " --only " + strings.Join(cfg.Only, ",")
	}
	if cfg.Full {
		line += " --full"
	}
	if cfg.Step != 0 {
		line += fmt.Sprintf(" --step %v", cfg.Step)
	}
	if cfg.Rounds != 0 {
		line += fmt.Sprintf(" --rounds %d", cfg.Rounds)
	}
	return line
}

// writeReport prints the report and, when the run is whole, writes the file.
func writeReport(in *cli.Invocation, report *bench.Report, output, file string, whole bool) error {
	var errs []error
	if file != "" && whole {
		errs = append(errs, writeReportFile(report, file))
	}
	if output == "json" {
		return errors.Join(append(errs, encode(in.Stdout, report))...)
	}
	return errors.Join(append(errs, report.WriteTable(in.Stdout))...)
}

func writeReportFile(report *bench.Report, file string) error {
	before, err := os.ReadFile(file)
	switch {
	case err == nil:
		if err := report.CompareWith(bytes.NewReader(before)); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	var b bytes.Buffer
	if err := report.WriteMarkdown(&b); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}

// benchBareCommand is the server that the benchmark compares with.
func benchBareCommand(in *cli.Invocation) *cobra.Command {
	return &cobra.Command{
		Use: bench.BareCommand, Short: "The baseline of taskfeed-lab bench", Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return bench.RunBare(cmd.Context(), in.Env) },
	}
}
