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
	"github.com/taskfeed/taskfeed/lab/crowd"
)

func benchCommand(in *cli.Invocation) *cobra.Command {
	var cfg bench.Config
	var output, file string
	var quiet bool
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure taskfeed on this machine, each figure beside its baseline",
		Long: "bench starts a private Postgres and servers, measures, and prints a table. Compare\n" +
			"the ratios: the variants take turns in one run. It takes about twelve minutes on\n" +
			"two cores.\n\n" +
			"With --database-url it measures in that database instead, with its own users and\n" +
			"tasks, bench-…, and its own schema of tables, and removes them afterwards. It\n" +
			"leaves out measurements that would disturb others.\n\n" +
			"Measurements: " + strings.Join(bench.Names(), ", "),
		Example: "  taskfeed-lab bench\n  taskfeed-lab bench --only peers --centrifugo ./centrifugo\n  taskfeed-lab bench --only writers,latency\n  taskfeed-lab bench --only fleet --connections 100000\n  taskfeed-lab bench --full --report docs/BENCHMARKS.md",
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
			if cfg.Engine, err = engineIfAny(cfg.Engine); err != nil {
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
	flags.StringVar(&file, "report", "", "also write the report as Markdown to this file, with the figures that are worse than in its previous content")
	flags.StringVar(&cfg.DatabaseURL, "database-url", "", "measure in this database, which must have the current schema, instead of a private one")
	flags.StringSliceVar(&cfg.Only, "only", nil, "measurements to make (default: all)")
	cli.CompleteFlag(cmd, "only", bench.Names())
	flags.BoolVar(&cfg.Full, "full", false, "also measure with ten million events in the log: takes some minutes and 15 GB of disk more")
	flags.StringVar(&cfg.Centrifugo, "centrifugo", "", "program of Centrifugo 6.8 or later, which peers compares with")
	flags.StringVar(&cfg.Engine, "engine", "", "the NATS server to measure gateways with (default: natsd beside this program, or nats-server in PATH)")
	flags.IntVar(&cfg.Connections, "connections", 0, "connections to all gateways of fleet together (default 20000)")
	flags.DurationVar(&cfg.Step, "step", 0, "how long one variant of a measurement lasts (default 800ms)")
	flags.IntVar(&cfg.Rounds, "rounds", 0, "how often the variants take turns (default 5)")
	flags.BoolVar(&quiet, "quiet", false, "no progress")
	return cmd
}

// benchLine returns the command as the report shows it, without the database's URL,
// which may contain a password.
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
	if cfg.Connections != 0 {
		line += fmt.Sprintf(" --connections %d", cfg.Connections)
	}
	if cfg.Step != 0 {
		line += fmt.Sprintf(" --step %v", cfg.Step)
	}
	if cfg.Rounds != 0 {
		line += fmt.Sprintf(" --rounds %d", cfg.Rounds)
	}
	return line
}

// writeReport prints the report and, when the run is complete, writes the file.
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

// engineIfAny returns the NATS server that is named, or else the one that is found, or "".
func engineIfAny(named string) (string, error) {
	engine, err := findEngine(named)
	if err != nil && named == "" {
		return "", nil
	}
	return engine, err
}

// benchCrowdCommand is the clients of gateways.
func benchCrowdCommand(in *cli.Invocation) *cobra.Command {
	return &cobra.Command{
		Use: crowd.Command, Short: "Clients of taskfeed-lab bench", Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return crowd.Run(cmd.Context(), in.Env) },
	}
}

// benchBareCommand is the baseline's server.
func benchBareCommand(in *cli.Invocation) *cobra.Command {
	return &cobra.Command{
		Use: bench.BareCommand, Short: "The baseline of taskfeed-lab bench", Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return bench.RunBare(cmd.Context(), in.Env) },
	}
}
