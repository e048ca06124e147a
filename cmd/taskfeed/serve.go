package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/internal/dial"
	"github.com/taskfeed/taskfeed/internal/logs"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/listener"
	"github.com/taskfeed/taskfeed/migrations"
	"github.com/taskfeed/taskfeed/store"
	"github.com/taskfeed/taskfeed/store/history"
	"github.com/taskfeed/taskfeed/web"
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
		RunE: func(cmd *cobra.Command, _ []string) error {
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
			return serve(cmd.Context(), cfg, logger)
		},
	}
	ss.register(cmd.Flags())
	return cmd
}

// serve runs a server until ctx is done and its connections are drained.
func serve(ctx context.Context, cfg config, logger *slog.Logger) error {
	if err := prepareSchema(ctx, cfg, logger); err != nil {
		return err
	}
	cfg.store.Logger, cfg.listener.Logger, cfg.auth.Logger = logger, logger, logger
	st, err := store.Open(ctx, cfg.store)
	if err != nil {
		return err
	}
	defer st.Close()
	var checks sync.WaitGroup
	defer checks.Wait()
	checks.Go(func() { checkListen(ctx, st, logger) }) // a pooler that does not answer must not delay the start
	h, err := hub.New(st, cfg.hub)
	if err != nil {
		return err
	}
	feed, err := listener.New(func(ctx context.Context) (listener.Session, error) {
		return st.OpenSession(ctx)
	}, h, cfg.listener)
	if err != nil {
		return err
	}
	verifier, err := auth.New(cfg.auth)
	if err != nil {
		return inSettings(err)
	}
	hazards := &hazardWatch{look: st.Hazards, logger: logger}
	hazards.once(ctx) // before anybody is served
	deps := httpapi.Deps{
		Hub:        h,
		Verifier:   verifier,
		History:    history.New(st.Queries()),
		Commands:   st,
		Sources:    attachedTables{st},
		Checks:     append(checksOf(st, feed, hazards), hazards.checks()...),
		Collectors: []prometheus.Collector{newFeedCollector(feed, st), hazards, buildInfo()},
		Pages:      web.Handler(),
		Log:        logger,
		Version:    cli.Version(),
	}
	if cfg.dev {
		deps.Samples = samples{cfg.store.URL}
	}
	server, err := httpapi.New(deps, cfg.http)
	if err != nil {
		return err
	}
	lastCommand, err := st.LastCommand(ctx) // earlier commands are for connections that no longer exist
	if err != nil {
		return err
	}
	erasures, err := st.Erasures(ctx) // nothing that was erased before is in memory
	if err != nil {
		return err
	}
	parts := []service{
		{"listener", feed.Run},
		{"commands", func(ctx context.Context) error {
			return obeyCommands(ctx, st, lastCommand, server.Obey, logger)
		}},
		{"erasures", func(ctx context.Context) error { return watchErasures(ctx, st, erasures, h.ForgetFrames) }},
		{"tokens", verifier.Run},
		{"hazards", hazards.Run},
	}
	if supervisedBySystemd() {
		systemd, err := newSupervisor(cfg.host, cfg.port, logger)
		if err != nil {
			return err
		}
		parts = append(parts, service{"systemd", func(running context.Context) error { return systemd.run(running, ctx) }})
	}
	return runServer(ctx, server.Run, parts...)
}

// checksOf returns the checks of /readyz.
func checksOf(st *store.Store, feed *listener.Listener, hazards *hazardWatch) []httpapi.Check {
	return []httpapi.Check{
		{Name: "database", Run: st.Ping},
		{Name: "feed", Run: func(context.Context) error { return feed.Ready() }},
		{Name: "capture", Run: func(ctx context.Context) error {
			capturing, err := st.Capturing(ctx)
			if err == nil && !capturing {
				err = &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "a trigger of taskfeed.tasks is disabled, missing or another's: " +
					"changes are not captured; taskfeed doctor says which"}
			}
			if err == nil && len(hazards.of(store.HazardCapture)) > 0 {
				err = &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "a lasting setting makes sessions play a replica: " +
					"changes are not captured; taskfeed doctor says which"}
			}
			return err
		}},
	}
}

// prepareSchema waits for the database and migrates the schema to this binary's version,
// or refuses a schema of another version.
func prepareSchema(ctx context.Context, cfg config, logger *slog.Logger) error {
	url := cfg.store.URL
	if cfg.store.ListenURL != "" {
		url = cfg.store.ListenURL // migrations need their own session too
	}
	versions, err := awaitDatabase(ctx, url, cfg.startWait, logger)
	switch {
	case err != nil:
		return err
	case versions.Current():
		return nil
	case !cfg.migrate:
		return fmt.Errorf("%v: run taskfeed migrate up, or drop --migrate=false", versions)
	}
	logger.Info("migrating", "from", versions.Database, "to", versions.Binary)
	return migrations.UpTelling(ctx, url, func(what string) { logger.Warn("migrating takes longer", "why", what) })
}

// awaitDatabase reads the schema's version. While the database cannot be reached it tries
// again until wait is over. Missing privileges, a wrong parameter in the URL and the
// wrong pooler are not retried: waiting does not help.
func awaitDatabase(ctx context.Context, url string, wait time.Duration, logger *slog.Logger) (migrations.Versions, error) {
	deadline := time.Now().Add(wait)
	for {
		versions, err := migrations.Read(ctx, url)
		_, parameter := errors.AsType[*dial.ParameterError](err)
		_, shared := errors.AsType[*dial.SharedError](err)
		if err == nil || parameter || shared || migrations.Refused(err) || ctx.Err() != nil || time.Now().After(deadline) {
			return versions, err
		}
		logger.Warn("waiting for the database", "error", err)
		pause.For(ctx, time.Second)
	}
}

// checkListen logs when LISTEN does not work through the URL.
func checkListen(ctx context.Context, st *store.Store, logger *slog.Logger) {
	err := st.CheckListen(ctx)
	if e, ok := errors.AsType[*taskfeed.Error](err); ok && e.Code == taskfeed.CodeInternal && ctx.Err() == nil {
		logger.Error("notifications do not arrive: events may come up to a second late", "fix", e.Message)
	}
}
