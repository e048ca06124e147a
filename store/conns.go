package store

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/taskfeed/taskfeed/internal/dial"
)

// conns are connections of one kind. Each kind has its own, so that reads of one
// that wait, for a lock or for a slow disk, leave the others theirs.
type conns struct {
	pool   *pgxpool.Pool
	params dial.Config
	shared *atomic.Bool // sessions are a pooler's: each transaction sets the parameters
}

// openConns makes a pool of at most so many connections; it connects when first used.
func openConns(ctx context.Context, cfg dial.Config, shared bool, size int) (*conns, error) {
	bare := cfg
	bare.Bare = true
	poolCfg, err := bare.Pool()
	if err != nil {
		return nil, err
	}
	full, err := cfg.Pool()
	if err != nil {
		return nil, err
	}
	c := &conns{params: cfg, shared: &atomic.Bool{}}
	c.shared.Store(shared)
	poolCfg.MaxConns = int32(size)
	poolCfg.MinConns, poolCfg.MinIdleConns = min(poolCfg.MinConns, int32(size)), min(poolCfg.MinIdleConns, int32(size))
	poolCfg.BeforeConnect = func(_ context.Context, conn *pgx.ConnConfig) error {
		if c.shared.Load() {
			conn.DefaultQueryExecMode = pgx.QueryExecModeExec // a prepared statement is a session's
		} else {
			conn.RuntimeParams = full.ConnConfig.Copy().RuntimeParams
		}
		return nil
	}
	poolCfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		if c.shared.Load() {
			return nil
		}
		return full.AfterConnect(ctx, conn)
	}
	c.pool, err = pgxpool.NewWithConfig(ctx, poolCfg)
	return c, err
}

// over is what a connection, a session or a transaction can be asked.
type over interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// asked is over that begins transactions too.
type asked interface {
	over
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

// do calls work with a connection, and again with the same one when a plan that was
// prepared on it fits no more. Work must not keep what it read before it failed.
func (c *conns) do(ctx context.Context, work func(asked) error) error {
	conn, err := c.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	var a asked = conn
	if c.shared.Load() {
		a = local{conn.Conn(), c.params.Local(conn.Conn().PgConn())}
	}
	return withFreshPlans(ctx, conn.Conn(), func() error { return work(a) })
}

// acquire connects once more without parameters when a pooler refused them.
func (c *conns) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	conn, err := c.pool.Acquire(ctx)
	if dial.Refused(err) && c.shared.CompareAndSwap(false, true) || err != nil && c.shared.Load() && dial.Refused(err) {
		conn, err = c.pool.Acquire(ctx)
	}
	return conn, dial.Explain(err)
}

// planTries bounds how often work is begun anew: a table may change once more in
// between.
const planTries = 3

// withFreshPlans calls work, and again when a prepared statement does not fit any
// more: the type of a column changed, or something took the statements of the
// session away. Postgres says so before it has done anything of that statement, and
// the transaction around it is rolled back.
func withFreshPlans(ctx context.Context, conn *pgx.Conn, work func() error) error {
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

// stalePlan reports whether an error is about a prepared statement, not about what
// it says. There is no SQLSTATE of its own for "cached plan must not change result
// type".
func stalePlan(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "26000" || e.Code == "42P05" || e.Code == "0A000" && e.Routine == "RevalidateCachedQuery")
}
