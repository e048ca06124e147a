package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/lab/verify"
	"github.com/taskfeed/taskfeed/lab/verify/actor"
	"github.com/taskfeed/taskfeed/lab/verify/check"
)

// statusInvalid is the exit status of a run without a verdict.
const statusInvalid = 3

func verifyCommand(in *cli.Invocation) *cobra.Command {
	var cfg verify.Config
	var output, checkDir string
	var list, quiet bool
	var planted []string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check on this machine that nothing is lost, whatever fails",
		Long: "verify starts a private Postgres, servers, writers and clients, injects faults, one\n" +
			"at a time and then several at once, and checks what every client saw and every\n" +
			"webhook brought against what the database says was committed. Beside the servers run\n" +
			"two gateways and NATS, unless no NATS server is found.\n\n" +
			"With --database-url it runs on that database instead, with its own users, ids and\n" +
			"servers, and removes its data afterwards. It then runs only faults that disturb\n" +
			"others no longer than the crash of one server would.\n\n" +
			"A round in which something is missing is void; the run continues with the next.\n\n" +
			"Exit status: 0 passed, 1 FAILED, 3 INVALID: something is missing from all rounds.",
		Example: "  taskfeed-lab verify\n  taskfeed-lab verify --faults kill-leader,pg-immediate --duration -1s\n" +
			"  taskfeed-lab verify --rounds 20 --duration 5m --keep histories\n  taskfeed-lab verify --check histories/round-3",
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case output != "text" && output != "json":
				return cli.Usage(errors.New("--output must be text or json"))
			case list:
				return listFaults(in.Stdout)
			case checkDir != "":
				return verifyHistory(in.Stdout, checkDir, output)
			}
			if !quiet {
				cfg.Progress = in.Stderr
			}
			cfg.Version = cli.Version()
			if engine, err := findEngine(cfg.Engine); err == nil || cfg.Engine != "" {
				if err != nil {
					return err
				}
				cfg.Engine = engine
			}
			if len(planted) > 0 {
				return runMutations(cmd.Context(), in.Stdout, cfg, planted)
			}
			return runVerify(cmd.Context(), in.Stdout, cfg, output)
		},
	}
	taskfeedFlag(cmd, &cfg.Binary)
	flags := cmd.Flags()
	flags.Uint64Var(&cfg.Seed, "seed", 0, "seed of all choices (default: from the clock)")
	flags.IntVar(&cfg.Rounds, "rounds", 0, "rounds to run, each with the next seed (default 1)")
	flags.DurationVar(&cfg.Duration, "duration", 0, "how long each round runs several faults at once; negative: not at all (default 20s)")
	flags.StringSliceVar(&cfg.Faults, "faults", nil, "faults to run (default: all that can be run)")
	flags.StringSliceVar(&cfg.Without, "without", nil, "faults to leave out")
	flags.IntVar(&cfg.Servers, "servers", 0, "servers that share the database (default 2)")
	flags.StringVar(&cfg.Engine, "engine", "", "the NATS server for gateways (default: natsd beside this program, or nats-server in PATH; without it there are no gateways)")
	flags.IntVar(&cfg.EngineServers, "engine-servers", 0, "NATS servers that share the work; some faults need 3 (default 1)")
	flags.StringVar(&cfg.Keep, "keep", "", "directory for the histories of all rounds (default: a temporary one, for those that did not pass)")
	flags.StringVar(&cfg.DatabaseURL, "database-url", "", "run on this database instead of a private one")
	flags.StringVar(&checkDir, "check", "", "judge a kept history, and run nothing")
	flags.StringSliceVar(&planted, "planted", nil, "build servers with these mistakes, or all, and check that verify catches them; needs a checkout and Go")
	flags.BoolVar(&list, "list", false, "list the faults, and run nothing")
	flags.BoolVar(&quiet, "quiet", false, "no progress")
	flags.StringVar(&output, "output", "text", "text or json")
	return cmd
}

// verdictError is nil for a pass.
func verdictError(v check.Verdict) error {
	switch v {
	case check.Pass:
		return nil
	case check.Invalid:
		return cli.Status(statusInvalid, errors.New("the run has no verdict: something is missing from all rounds"))
	}
	return errors.New("a promise was broken")
}

func runVerify(ctx context.Context, stdout io.Writer, cfg verify.Config, output string) error {
	if err := cfg.Validate(); err != nil {
		return cli.Usage(err)
	}
	var err error
	if cfg.Binary, err = findTaskfeed(cfg.Binary); err != nil {
		return err
	}
	result, err := verify.Run(ctx, cfg)
	if err != nil {
		return err
	}
	if output == "json" {
		err = encode(stdout, result)
	} else {
		err = result.WriteText(stdout)
	}
	return errors.Join(err, verdictError(result.Verdict))
}

// runMutations prints a line for each mistake and fails when one is not caught.
func runMutations(ctx context.Context, stdout io.Writer, cfg verify.Config, names []string) error {
	err := verify.RunMutations(ctx, cfg, names, stdout)
	if errors.Is(err, verify.ErrNoSuchMutation) {
		return cli.Usage(err)
	}
	return err
}

func verifyHistory(stdout io.Writer, dir, output string) error {
	report, err := verify.Check(dir)
	if err != nil {
		return err
	}
	if output == "json" {
		err = encode(stdout, report)
	} else {
		err = verify.WriteReport(stdout, &report)
	}
	return errors.Join(err, verdictError(report.Verdict))
}

func encode(w io.Writer, v any) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(v)
}

// listFaults prints the faults, and the failures of the catalogue that other tests try
// or nothing tries.
func listFaults(stdout io.Writer) error {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	for _, f := range verify.Faults() {
		note := ""
		if !f.Safe {
			note = " (private database only)"
		}
		fmt.Fprintf(w, "%s\t%s%s\n", f.Name, f.Says, note)
	}
	fmt.Fprintf(w, "\nTried by tests of the packages:\n")
	for _, row := range verify.Rows {
		if len(row.Faults) == 0 && len(row.Tests) > 0 {
			fmt.Fprintf(w, "%s\t%s\n", row.Says, strings.Join(row.Tests, ", "))
		}
	}
	fmt.Fprintf(w, "\nNot tried:\n")
	for _, row := range verify.Rows {
		if row.NotRun != "" {
			fmt.Fprintf(w, "%s\t%s\n", row.Says, row.NotRun)
		}
	}
	return w.Flush()
}

// verifyWriterCommand and verifyClientCommand are child processes of a run.
func verifyWriterCommand(in *cli.Invocation) *cobra.Command {
	return &cobra.Command{
		Use: "verify-writer", Short: "A writer of taskfeed-lab verify", Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return actor.RunWriter(cmd.Context(), cmd.InOrStdin(), in.Stdout)
		},
	}
}

func verifyClientCommand(in *cli.Invocation) *cobra.Command {
	return &cobra.Command{
		Use: "verify-client", Short: "Clients of taskfeed-lab verify", Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return actor.RunClients(cmd.Context(), cmd.InOrStdin(), in.Stdout)
		},
	}
}
