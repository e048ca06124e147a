package dial

import (
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// statementCache is how many prepared statements a connection keeps.
const statementCache = 512

// decideMode chooses one of the two ways of sending statements that ours are written
// for: prepared, or each with its arguments. An app's URL may set any mode of pgx, some
// of which guess the types of arguments, and caches of any size. If it turns prepared
// statements off, as for a pooler, none are used.
func decideMode(cfg *pgx.ConnConfig) {
	prepared := cfg.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement && cfg.StatementCacheCapacity > 0
	Prepare(cfg)
	if !prepared {
		cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
}

// Prepare makes a connection prepare its statements, whatever its URL says. It is for a
// session that is ours alone.
func Prepare(cfg *pgx.ConnConfig) {
	cfg.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	cfg.StatementCacheCapacity, cfg.DescriptionCacheCapacity = statementCache, statementCache
}

// checkPool refuses values of pool_ parameters that pgx accepts and cannot work with: a
// health check every 0s panics.
func checkPool(cfg *pgxpool.Config) error {
	for _, p := range []struct {
		name  string
		value time.Duration
		least time.Duration
		off   bool // 0 means none
	}{
		{"pool_health_check_period", cfg.HealthCheckPeriod, time.Second, false},
		{"pool_max_conn_lifetime", cfg.MaxConnLifetime, time.Second, true},
		{"pool_max_conn_lifetime_jitter", cfg.MaxConnLifetimeJitter, 0, false},
		{"pool_max_conn_idle_time", cfg.MaxConnIdleTime, time.Second, false},
		{"pool_ping_timeout", cfg.PingTimeout, 100 * time.Millisecond, true},
	} {
		if p.value < p.least && !(p.off && p.value == 0) {
			return fmt.Errorf("the database URL: %s must be at least %v%s", p.name, p.least, map[bool]string{true: ", or 0s for none"}[p.off])
		}
	}
	if cfg.MinConns < 0 || cfg.MinIdleConns < 0 {
		return errors.New("the database URL: pool_min_conns and pool_min_idle_conns must be at least 0")
	}
	return nil
}
