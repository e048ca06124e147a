// Package pg is how store and store/history ask Postgres: pools of connections,
// statements that survive a change of the schema, and errors with the codes of the
// root package.
package pg

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/taskfeed/taskfeed/internal/dial"
)

// Pool is a pool of connections for one kind of reads. Each kind has its own, so
// that reads of one kind that wait, for a lock or for a slow disk, do not take the
// connections of the others.
type Pool struct {
	Conns   *pgxpool.Pool
	timeout time.Duration
	params  dial.Config
	shared  *atomic.Bool // a pooler shares the sessions: each transaction sets the parameters
}

// Config says how a pool connects.
type Config struct {
	Dial    dial.Config
	Shared  bool          // through a pooler that shares sessions
	Size    int           // connections at most
	Timeout time.Duration // of one read
}

// Open makes a pool; it connects when first used. The caller closes it.
func Open(ctx context.Context, cfg Config) (*Pool, error) {
	bare := cfg.Dial
	bare.Bare = true
	poolCfg, err := bare.Pool()
	if err != nil {
		return nil, err
	}
	full, err := cfg.Dial.Pool()
	if err != nil {
		return nil, err
	}
	p := &Pool{timeout: cfg.Timeout, params: cfg.Dial, shared: &atomic.Bool{}}
	p.shared.Store(cfg.Shared)
	size := int32(cfg.Size)
	poolCfg.MaxConns = size
	poolCfg.MinConns, poolCfg.MinIdleConns = min(poolCfg.MinConns, size), min(poolCfg.MinIdleConns, size)
	poolCfg.BeforeConnect = func(_ context.Context, conn *pgx.ConnConfig) error {
		if p.shared.Load() {
			conn.DefaultQueryExecMode = pgx.QueryExecModeExec // a prepared statement belongs to a session
		} else {
			conn.RuntimeParams = full.ConnConfig.Copy().RuntimeParams
		}
		return nil
	}
	poolCfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		if p.shared.Load() {
			return nil
		}
		return full.AfterConnect(ctx, conn)
	}
	p.Conns, err = pgxpool.NewWithConfig(ctx, poolCfg)
	return p, err
}

// Close closes the pool and waits for reads under way. It may be called on nil.
func (p *Pool) Close() {
	if p != nil {
		p.Conns.Close()
	}
}

// Bound returns a context for one read.
func (p *Pool) Bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, p.timeout)
}

// Querier runs statements: a connection, a session or a transaction.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// Conn is a Querier that begins transactions too.
type Conn interface {
	Querier
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

// Do calls work with a connection, and again with the same one when a statement that
// was prepared on it has become stale. Work must not keep what it read before it
// failed.
func (p *Pool) Do(ctx context.Context, work func(Conn) error) error {
	conn, err := p.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	var c Conn = conn
	if p.shared.Load() {
		c = sharedConn{conn.Conn(), p.params.Local(conn.Conn().PgConn())}
	}
	return WithFreshPlans(ctx, conn.Conn(), func() error { return work(c) })
}

// acquire connects a second time, without parameters, when a pooler refused them.
func (p *Pool) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	conn, err := p.Conns.Acquire(ctx)
	if dial.Refused(err) && p.shared.CompareAndSwap(false, true) || err != nil && p.shared.Load() && dial.Refused(err) {
		conn, err = p.Conns.Acquire(ctx)
	}
	return conn, dial.Explain(err)
}

// planTries bounds how often WithFreshPlans calls work: a table may change again in
// between.
const planTries = 3

// WithFreshPlans calls work, and again when a prepared statement has become stale:
// the type of a column changed, or the statements of the session were discarded.
// Postgres refuses such a statement before it does anything of it, and rolls back
// the transaction around it.
func WithFreshPlans(ctx context.Context, conn *pgx.Conn, work func() error) error {
	for try := 1; ; try++ {
		err := work()
		if try == planTries || !stalePlan(err) || conn.IsClosed() || conn.PgConn().TxStatus() != 'I' {
			return err
		}
		if err := conn.DeallocateAll(ctx); err != nil {
			return err
		}
	}
}

// stalePlan reports whether an error is about a prepared statement and not about
// what the statement says. "cached plan must not change result type" has no SQLSTATE
// of its own.
func stalePlan(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "26000" || e.Code == "42P05" || e.Code == "0A000" && e.Routine == "RevalidateCachedQuery")
}

// Query runs a statement that is planned for its very arguments each time, because
// the best index depends on them.
func Query(ctx context.Context, db Querier, statement string, args pgx.NamedArgs) pgx.Rows {
	rows, _ := db.Query(ctx, statement, pgx.QueryExecModeExec, args) // the rows report the error too
	return rows
}

// WalkIndexes makes the statements after it, to the end of the batch, read indexes in
// their order. The planner's statistics of a log that was small or empty when they
// were taken would have it read and sort everything that a client has missed, or the
// whole log, for each page. Where a walk has an upper bound, the planner may believe
// that few rows lie below it, read those of everybody, and sort.
const WalkIndexes = `
SELECT set_config('enable_seqscan', 'off', true),
       set_config('enable_bitmapscan', 'off', true),
       set_config('enable_sort', 'off', true),
       set_config('enable_incremental_sort', 'off', true),
       set_config('max_parallel_workers_per_gather', '0', true),
       set_config('jit', 'off', true),
       set_config('plan_cache_mode', 'force_generic_plan', true)`
