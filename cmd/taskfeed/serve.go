package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/internal/logs"
	"github.com/taskfeed/taskfeed/internal/service"
	"github.com/taskfeed/taskfeed/internal/tracing"
	"github.com/taskfeed/taskfeed/server"
)

func serveCommand(in *cli.Invocation) *cobra.Command {
	var cfg config
	ss := newSettings(cfg.serveSettings())
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the feeds of a database",
		Long: "serve moves committed changes into the log and serves each user's feed. Several\n" +
			"servers can serve one database: one of them moves changes, all of them serve.\n\n" +
			"Every flag can be set by the environment variable after it, or by that name with\n" +
			"_FILE and the path of a file, for secrets.",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := errors.Join(ss.read(in.Env), cfg.finish()); err != nil {
				return cli.Usage(err)
			}
			lines := newSink(in.Stderr, cfg.log)
			defer lines.Close()
			logger := newLogger(lines, cfg.log)
			defer logs.Flush(logger.Handler())
			for _, name := range unknown(in.Environ, ss.list) {
				logger.Warn("unknown setting ignored", "name", name)
			}
			for _, line := range cfg.warnings() {
				logger.Warn("unusual settings", "why", line)
			}
			traces, err := tracing.Open(cmd.Context(), in.Env, cli.Version(), logger)
			if err != nil {
				return cli.Usage(err)
			}
			if traces != nil {
				cfg.traces = traces
				defer func() { err = errors.Join(err, shutDown(cmd.Context(), traces)) }()
			}
			return serve(cmd.Context(), cfg, logger)
		},
	}
	ss.register(cmd.Flags())
	return cmd
}

// serve runs a server until ctx is done and its connections are drained.
func serve(ctx context.Context, cfg config, logger *slog.Logger) error {
	srv, err := server.New(cfg.server(logger))
	if err != nil {
		return inSettings(err)
	}
	var others []service.Service
	if supervisedBySystemd() {
		systemd, err := newSupervisor(cfg.host, cfg.port, logger)
		if err != nil {
			return err
		}
		others = append(others, service.Service{Name: "systemd", Run: func(running context.Context) error { return systemd.run(running, ctx) }})
	}
	return service.RunServer(ctx, srv.Run, others...)
}

// shutDown sends the last spans, for at most a few seconds.
func shutDown(ctx context.Context, traces interface{ Shutdown(context.Context) error }) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := traces.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}
