package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/internal/logs"
	"github.com/taskfeed/taskfeed/internal/service"
	"github.com/taskfeed/taskfeed/server"
)

func gatewayCommand(in *cli.Invocation) *cobra.Command {
	var cfg config
	ss := newSettings(cfg.gatewaySettings())
	cmd := &cobra.Command{
		Use:   "gateway",
		Short: "Serve feeds without a database, beside servers with one",
		Long: "gateway serves feeds and nothing else. It has no database: it hears the log from\n" +
			"servers (taskfeed serve) over NATS and asks them for what is missing. The settings\n" +
			"TASKFEED_ENGINE_… and those of tokens are the same as theirs.\n\n" +
			"Every flag can be set by the environment variable after it, or by that name with\n" +
			"_FILE and the path of a file, for secrets.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(ss.read(in.Env), withoutDatabase(in.Env), cfg.finishGateway()); err != nil {
				return cli.Usage(err)
			}
			lines := newSink(in.Stderr, cfg.log)
			defer lines.Close()
			logger := newLogger(lines, cfg.log)
			defer logs.Flush(logger.Handler())
			for _, name := range unknown(in.Environ, ss.list) {
				logger.Warn("setting ignored: a gateway does not have it", "name", name)
			}
			for _, line := range cfg.warnings() {
				logger.Warn("unusual settings", "why", line)
			}
			return gateway(cmd.Context(), cfg, logger)
		},
	}
	ss.register(cmd.Flags())
	return cmd
}

func gateway(ctx context.Context, cfg config, logger *slog.Logger) error {
	g, err := server.NewGateway(server.GatewayConfig{Relay: cfg.relay, Hub: cfg.hub, Tokens: cfg.auth, HTTP: cfg.http, Log: logger, Version: cli.Version()})
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
	return service.RunServer(ctx, g.Run, others...)
}

// withoutDatabase refuses the settings of a database: whoever sets them expects another
// command.
func withoutDatabase(env func(string) string) error {
	var errs []error
	for _, name := range []string{"DATABASE_URL", "DATABASE_URL_FILE"} {
		if env(name) != "" {
			errs = append(errs, fmt.Errorf("%s: a gateway has no database: remove it, or run taskfeed serve", name))
		}
	}
	return errors.Join(errs...)
}

func (c *config) gatewaySettings() []*setting {
	http := slices.DeleteFunc(c.httpSettings(), func(s *setting) bool {
		return s.env == "TASKFEED_PAGES" || s.env == "TASKFEED_ANSWER_BYTES" || s.env == "TASKFEED_ANSWER_TIME"
	})
	return slices.Concat(c.engineSettings(), []*setting{
		{"TASKFEED_RECENT_LOG", "memory for recent events of all users, in bytes, from which clients that come back are served without asking a core; 0 is off", "268435456", memory(&c.hub.RecentLogBytes, 2<<20)},
	}, http, c.tokenSettings(), c.logSettings())
}

// finishGateway completes and validates the configuration of gateway.
func (c *config) finishGateway() error {
	c.auth.Secret = []byte(c.secret)
	c.http.Addr = net.JoinHostPort(c.host, c.port)
	var errs []error
	if c.relay.Engine.URLs == "" {
		errs = append(errs, errors.New("TASKFEED_ENGINE_URL: it is missing: a gateway needs the NATS servers that its cores use"))
	}
	errs = append(errs, c.checkEngine())
	if err := request.CheckOrigins(c.http.AllowedOrigins); err != nil {
		errs = append(errs, fmt.Errorf("TASKFEED_ALLOWED_ORIGINS: %w", err))
	}
	if slices.Contains(c.http.AllowedOrigins, "*") {
		errs = append(errs, errAnyOrigin)
	}
	if _, err := auth.New(c.auth); err != nil {
		errs = append(errs, inSettings(err))
	}
	return errors.Join(errs...)
}
