// Package store holds the log and the session of a server. Apart from store/history,
// which reads lists and timelines, no other package reads or writes taskfeed's tables.
//
// A Store has three small pools of connections, so that reads that wait in one do not
// delay the others: for feeds, for checks, and for queries of users and admins. A
// Session is one more connection, of the server that sequences or follows. Advisory
// locks, LISTEN and the move from changes to events all use it, so a server that loses
// its session also loses the right to write.
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

	// ListenURL leads directly to the same database, for LISTEN and advisory locks,
	// when URL goes through a pooler that shares sessions. When it is set, the pools
	// use no prepared statements and nothing else that belongs to a session. Default:
	// URL.
	ListenURL string

	// MaxConns bounds all pools together: two connections are for checks, half of the
	// rest for feeds, the others for queries. Default 12, at least 4.
	MaxConns int

	// ReadTimeout bounds one read through a pool. A caller that waits for less time
	// does not learn why the read failed. Default 20 s.
	ReadTimeout time.Duration

	// StallTimeout is how long the session of a frozen server may keep its locks.
	// Default 10 s; at least 3 s, because the listener looks once a second.
	StallTimeout time.Duration

	// LockTimeout bounds how long a read waits for a table that another session has
	// locked, for example to change it. Default 2 s.
	LockTimeout time.Duration

	// Logger gets warnings and notes that are no errors. Default: slog.Default().
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

// FeedConns returns how many connections feeds have: when all are in use, further reads
// wait.
func (c Config) FeedConns() int { return (c.withDefaults().MaxConns - checkConns) / 2 }

// checkConns is one connection for health and one for commands: both are read once a
// second and must not wait for each other.
const checkConns = 2

// Store reads the log and the tasks. It is safe for concurrent use.
type Store struct {
	cfg     Config
	feeds   *pg.Pool // the log, for subscribers
	checks  *pg.Pool // health, figures, commands; nothing that waits for a user's table
	queries *pg.Pool // what users and admins ask for
	listen  dial.Config

	tidings chan string // of read marks; see marks.go

	setbacks atomic.Int32 // statements of sequencers given up, less those that succeeded; see patience.go
}

// Open parses the configuration and makes the pools; they connect when first used.
// The caller closes the store.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, tidings: make(chan string, keptTidings), listen: dial.Config{URL: cfg.ListenURL, Name: "taskfeed listener", LockTimeout: cfg.LockTimeout}}
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

// Close closes the pools and waits for reads under way. It does not close sessions.
func (s *Store) Close() {
	for _, p := range []*pg.Pool{s.feeds, s.checks, s.queries} {
		p.Close()
	}
}

// Ping checks that the database answers.
func (s *Store) Ping(ctx context.Context) error {
	return pg.Wrap("ping", s.checks.Do(ctx, func(db pg.Conn) error {
		var one int
		return db.QueryRow(ctx, "SELECT 1").Scan(&one)
	}))
}

// DefaultReadTimeout is the default of Config.ReadTimeout.
const DefaultReadTimeout = 20 * time.Second
