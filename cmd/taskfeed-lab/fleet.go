package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/lab/fleet"
)

func fleetCommand(in *cli.Invocation) *cobra.Command {
	cfg := fleet.Config{Out: in.Stderr}
	cmd := &cobra.Command{
		Use:   "fleet",
		Short: "Run two servers, three gateways, NATS and a private Postgres on this machine",
		Long: "fleet starts a private Postgres whose data it deletes in the end, a NATS server, two\n" +
			"servers and three gateways, and prints where they are and how to try them. make\n" +
			"run-fleet builds what it needs.",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.Port < 0 || cfg.Port > 65_000 {
				return cli.Usage(errors.New("--port must be from 0 to 65000"))
			}
			if cfg.Taskfeed, err = findTaskfeed(cfg.Taskfeed); err != nil {
				return err
			}
			if cfg.Engine, err = findEngine(cfg.Engine); err != nil {
				return err
			}
			return fleet.Run(cmd.Context(), cfg)
		},
	}
	taskfeedFlag(cmd, &cfg.Taskfeed)
	cmd.Flags().StringVar(&cfg.Engine, "engine", "", "the NATS server to start (default: natsd beside this program, or nats-server in PATH)")
	cmd.Flags().IntVar(&cfg.Port, "port", 8080, "port of the first server; the others take the next ones; 0 takes any that are free")
	return cmd
}

// findEngine returns the NATS server to start.
func findEngine(named string) (string, error) {
	return findProgram("--engine", named, "found no NATS server beside this program or in PATH: build it with make run-fleet, or name one with --engine", "natsd", "nats-server")
}
