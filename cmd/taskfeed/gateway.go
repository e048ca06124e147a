package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/internal/logs"
	"github.com/taskfeed/taskfeed/internal/service"
	"github.com/taskfeed/taskfeed/relay/natsrelay"
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

// engineSettings are the settings of cores and gateways for what connects them.
func (c *config) engineSettings() []*setting {
	e := &c.relay.Engine
	return []*setting{
		{"TASKFEED_ENGINE_URL", "NATS servers over which gateways get the log, separated by commas, the nearest first: nats://a:4222,tls://b:4222; without, there are no gateways", "", engineURL(&e.URLs)},
		{"TASKFEED_ENGINE_USER", "user of NATS", "", text(&e.User)},
		{"TASKFEED_ENGINE_PASSWORD", "password of that user", "", text(&e.Password)},
		{"TASKFEED_ENGINE_CREDENTIALS_FILE", "path of a file with credentials of NATS, in place of user and password", "", text(&e.CredentialsFile)},
		{"TASKFEED_ENGINE_CA_FILE", "path of a file with the certificates that sign those of NATS (default: the system's)", "", text(&e.CAFile)},
		{"TASKFEED_ENGINE_CERT_FILE", "path of a file with the certificate to show to NATS", "", text(&e.CertFile)},
		{"TASKFEED_ENGINE_KEY_FILE", "path of a file with its key", "", text(&e.KeyFile)},
		{"TASKFEED_ENGINE_PREFIX", "first word of all subjects on NATS; each deployment has its own", "taskfeed", subject(&c.relay.Prefix)},
	}
}

// compressionSettings are those of a core alone: a gateway reads both.
func (c *config) compressionSettings() []*setting {
	return []*setting{{"TASKFEED_ENGINE_COMPRESSION", "s2, or off: how messages to gateways are compressed", "s2", func(s string) error {
		var how string
		err := choice(&how, "s2", "off")(s)
		c.relay.Uncompressed = how == "off"
		return err
	}}}
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

// checkEngine refuses settings of the engine that contradict each other.
func (c *config) checkEngine() error {
	e := &c.relay.Engine
	var errs []error
	if e.CredentialsFile != "" && (e.User != "" || e.Password != "") {
		errs = append(errs, errors.New("TASKFEED_ENGINE_CREDENTIALS_FILE: set it, or user and password, not both"))
	}
	if (e.CertFile == "") != (e.KeyFile == "") {
		errs = append(errs, errors.New("TASKFEED_ENGINE_CERT_FILE: it needs TASKFEED_ENGINE_KEY_FILE, and that needs it"))
	}
	return errors.Join(errs...)
}

// engineSecret reports whether a URL of NATS names a user or a token.
func engineSecret(urls string) bool { return strings.Contains(urls, "@") }

func engineURL(into *string) func(string) error {
	return func(s string) error {
		*into = s
		return natsrelay.Check(s)
	}
}

var subjectWord = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func subject(into *string) func(string) error {
	return func(s string) error {
		if !subjectWord.MatchString(s) {
			return errors.New("must be 1 to 64 letters, digits, _ or -")
		}
		*into = s
		return nil
	}
}
