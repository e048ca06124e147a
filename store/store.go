// Package store is the only package that reads or writes taskfeed's tables.
//
// A Store is three small pools of connections for reading, so that what waits in
// one does not keep the others waiting: for feeds, for checks, and for everything
// that somebody asks for. A Session is one connection of its own for the server that sequences or
// follows: advisory locks, LISTEN and the move from changes to events all live
// on it, so a server that lost its session has lost the right to write too.
//
// Errors of the database become the root package's codes in pgerr.go.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/taskfeed/taskfeed/internal/dial"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// Config says where the database is.
type Config struct {
	// URL is the database to read from, as pgx and libpq understand it. Required.
	URL string

	// ListenURL is a direct way to the same database, for LISTEN and advisory
	// locks, when URL goes through a pooler that shares sessions. When it is set
	// the pools do without prepared statements, and without anything else that is
	// a session's. Default: URL.
	ListenURL string

	// MaxConns bounds all pools together: two connections are for checks, half of
	// the rest for feeds, the others for whoever asks. Default 12, at least 4.
	MaxConns int

	// ReadTimeout bounds one read through a pool. Who asks must wait for longer,
	// or never learns why it failed. Default 20 s.
	ReadTimeout time.Duration

	// StallTimeout is how long the session of a frozen server may go on holding
	// its locks. Default 10 s; at least 3 s, because the listener looks once a
	// second.
	StallTimeout time.Duration

	// LockTimeout bounds how long such a read waits for a table that somebody locks,
	// to change it for instance. Default 2 s.
	LockTimeout time.Duration

	// Logger gets what is not worth an error. Default: slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.ListenURL == "" {
		c.ListenURL = c.URL
	}
	if c.MaxConns == 0 {
		c.MaxConns = 12
	}
	if c.ReadTimeout == 0 {
		c.ReadTimeout = DefaultReadTimeout
	}
	if c.LockTimeout == 0 {
		c.LockTimeout = 2 * time.Second
	}
	if c.StallTimeout == 0 {
		c.StallTimeout = 10 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	if c.URL == "" {
		errs = append(errs, errors.New("store: URL is missing"))
	}
	if c.MaxConns < 4 {
		errs = append(errs, fmt.Errorf("store: MaxConns is %d, want at least 4", c.MaxConns))
	}
	if c.ReadTimeout < 0 {
		errs = append(errs, fmt.Errorf("store: ReadTimeout is %v, want more than 0", c.ReadTimeout))
	}
	if c.LockTimeout < 0 {
		errs = append(errs, fmt.Errorf("store: LockTimeout is %v, want more than 0", c.LockTimeout))
	}
	if c.StallTimeout < 3*time.Second {
		errs = append(errs, fmt.Errorf("store: StallTimeout is %v, want at least 3s", c.StallTimeout))
	}
	return errors.Join(errs...)
}

// FeedConns returns how many connections feeds have: reads of more at a time wait.
func (c Config) FeedConns() int { return (c.withDefaults().MaxConns - checkConns) / 2 }

// checkConns are one connection for health and one for commands: each of them is
// looked at once a second, and must not wait for the other.
const checkConns = 2

// Store reads the log and the tasks. It is safe for concurrent use.
type Store struct {
	cfg     Config
	feeds   *pg.Pool // the log, for subscribers
	checks  *pg.Pool // health, figures, commands; nothing that waits for a user's table
	queries *pg.Pool // what users and admins ask for
	listen  dial.Config

	halvings atomic.Int32 // of what a sequencer's statement takes on; see patience.go
}

// Open parses the configuration and makes the pools; they connect when first used.
// The caller closes the store.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, listen: dial.Config{URL: cfg.ListenURL, Name: "taskfeed listener", LockTimeout: cfg.LockTimeout}}
	if err := dial.Check(cfg.ListenURL); err != nil {
		return nil, err
	}
	queries := cfg.MaxConns - checkConns - cfg.FeedConns()
	for _, kind := range []struct {
		pool **pg.Pool
		size int
	}{{&s.feeds, cfg.FeedConns()}, {&s.checks, checkConns}, {&s.queries, queries}} {
		var err error
		if *kind.pool, err = pg.Open(ctx, cfg.pool(kind.size)); err != nil {
			s.Close()
			return nil, fmt.Errorf("open database pool: %w", err)
		}
	}
	return s, nil
}

// pool is how a pool of so many connections connects. The statement timeout has
// Postgres end a read for which nobody waits any more.
func (c Config) pool(size int) pg.Config {
	return pg.Config{Shared: c.ListenURL != c.URL, Size: size, Timeout: c.ReadTimeout,
		Dial: dial.Config{URL: c.URL, Name: "taskfeed", StatementTimeout: c.ReadTimeout + 5*time.Second, LockTimeout: c.LockTimeout}}
}

// Queries returns the pool for what users and admins ask for; store/history reads
// through it. It is closed with the store.
func (s *Store) Queries() *pg.Pool { return s.queries }

// Close closes the pools and waits for reads under way. Sessions are closed by
// those who opened them.
func (s *Store) Close() {
	for _, p := range []*pg.Pool{s.feeds, s.checks, s.queries} {
		p.Close()
	}
}

// Ping asks the database for a sign of life.
func (s *Store) Ping(ctx context.Context) error {
	return pg.Wrap("ping", s.checks.Do(ctx, func(db pg.Conn) error {
		var one int
		return db.QueryRow(ctx, "SELECT 1").Scan(&one)
	}))
}

// DefaultReadTimeout is that of Config.
const DefaultReadTimeout = 20 * time.Second
