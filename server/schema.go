package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/dial"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/migrations"
	"github.com/taskfeed/taskfeed/store"
)

// prepareSchema waits for the database and migrates the schema to this binary's version,
// or refuses a schema of another version.
func (s *Server) prepareSchema(ctx context.Context) error {
	url := s.cfg.Database.URL
	if s.cfg.Database.ListenURL != "" {
		url = s.cfg.Database.ListenURL // migrations need their own session too
	}
	versions, err := s.awaitDatabase(ctx, url)
	switch {
	case err != nil:
		return err
	case versions.Current():
		return nil
	case s.cfg.KeepSchema:
		return fmt.Errorf("%v: run taskfeed migrate up, or let the server migrate it (--migrate=true, no KeepSchema)", versions)
	}
	s.cfg.Log.Info("migrating", "from", versions.Database, "to", versions.Binary)
	return migrations.UpTelling(ctx, url, func(what string) { s.cfg.Log.Warn("migrating takes longer", "why", what) })
}

// awaitDatabase reads the schema's version. While the database cannot be reached it tries
// again. Missing privileges, a wrong parameter in the URL, the wrong pooler and two URLs of
// two databases are not retried: waiting does not help.
func (s *Server) awaitDatabase(ctx context.Context, url string) (migrations.Versions, error) {
	helps := func(err error) bool {
		_, other := errors.AsType[*store.OtherDatabaseError](err)
		_, parameter := errors.AsType[*dial.ParameterError](err)
		_, shared := errors.AsType[*dial.SharedError](err)
		return !other && !parameter && !shared && !migrations.Refused(err)
	}
	return await(ctx, s.cfg, helps, func(ctx context.Context) (migrations.Versions, error) {
		versions, err := migrations.Read(ctx, url)
		if err != nil {
			return versions, err
		}
		return versions, s.store.CheckSameDatabase(ctx)
	})
}

// first reads a number at the start, and again while the database is away.
func (s *Server) first(ctx context.Context, read func(context.Context) (int64, error)) (int64, error) {
	return await(ctx, s.cfg, func(err error) bool { return taskfeed.CodeOf(err) == taskfeed.CodeUnavailable }, read)
}

// await reads again after errors that waiting helps against, until StartWait is over.
func await[T any](ctx context.Context, cfg Config, helps func(error) bool, read func(context.Context) (T, error)) (T, error) {
	deadline := time.Now().Add(cfg.StartWait)
	for {
		value, err := read(ctx)
		if err == nil || !helps(err) || ctx.Err() != nil || time.Now().After(deadline) {
			return value, err
		}
		cfg.Log.Warn("waiting for the database", "error", err)
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
