// Package store is the only package that reads or writes taskfeed's tables.
//
// A Store is a pool of connections for reading: the log, the tasks, figures. A
// Session is one connection of its own for the server that sequences or
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
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Config says where the database is.
type Config struct {
	// URL is the database to read from, as pgx and libpq understand it. Required.
	URL string

	// ListenURL is a direct way to the same database, for LISTEN and advisory
	// locks, when URL goes through a pooler that shares sessions. When it is set
	// the pool does without prepared statements. Default: URL.
	ListenURL string

	// MaxConns bounds the pool. Default 10.
	MaxConns int

	// ReadTimeout bounds one read through the pool. Default 30 s.
	ReadTimeout time.Duration

	// StallTimeout is how long the session of a frozen server may go on holding
	// its locks. Default 10 s; at least 3 s, because the listener looks once a
	// second.
	StallTimeout time.Duration

	// Logger gets what is not worth an error. Default: slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.ListenURL == "" {
		c.ListenURL = c.URL
	}
	if c.MaxConns == 0 {
		c.MaxConns = 10
	}
	if c.ReadTimeout == 0 {
		c.ReadTimeout = 30 * time.Second
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
	if c.MaxConns < 1 {
		errs = append(errs, fmt.Errorf("store: MaxConns is %d, want at least 1", c.MaxConns))
	}
	if c.ReadTimeout < 0 {
		errs = append(errs, fmt.Errorf("store: ReadTimeout is %v, want more than 0", c.ReadTimeout))
	}
	if c.StallTimeout < 3*time.Second {
		errs = append(errs, fmt.Errorf("store: StallTimeout is %v, want at least 3s", c.StallTimeout))
	}
	return errors.Join(errs...)
}

// Store reads the log and the tasks. It is safe for concurrent use.
type Store struct {
	cfg    Config
	pool   *pgxpool.Pool
	listen *pgx.ConnConfig
}

// Open parses the configuration and makes the pool; it connects when first used.
// The caller closes the store.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	poolCfg, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, errBadURL // pgx's own error may quote the password
	}
	poolCfg.MaxConns = int32(cfg.MaxConns)
	poolCfg.ConnConfig.ConnectTimeout = connectTimeout
	if cfg.ListenURL != cfg.URL {
		poolCfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	} else {
		setDefault(poolCfg.ConnConfig.RuntimeParams, "application_name", "taskfeed")
	}
	listenCfg, err := pgxpool.ParseConfig(cfg.ListenURL) // it knows the pool_ parameters that a URL may carry
	if err != nil {
		return nil, errBadURL
	}
	listen := listenCfg.ConnConfig
	listen.ConnectTimeout = connectTimeout
	listen.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement // a move is one round trip only when prepared
	pool, err := pgxpool.NewWithConfig(ctx, poolCfg)
	if err != nil {
		return nil, fmt.Errorf("open database pool: %w", err)
	}
	return &Store{cfg: cfg, pool: pool, listen: listen}, nil
}

// Close closes the pool and waits for reads under way. Sessions are closed by
// those who opened them.
func (s *Store) Close() { s.pool.Close() }

// Ping asks the database for a sign of life.
func (s *Store) Ping(ctx context.Context) error {
	return wrap("ping", s.pool.Ping(ctx))
}

const connectTimeout = 5 * time.Second

var errBadURL = errors.New("the database URL cannot be parsed: it looks like postgres://user:password@host:5432/database")

func setDefault(params map[string]string, key, value string) {
	if params[key] == "" {
		params[key] = value
	}
}

// reading bounds one read by the configured timeout.
func (s *Store) reading(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.cfg.ReadTimeout)
}
