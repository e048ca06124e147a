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

// decideMode says how statements are sent, of the two ways that ours are written
// for: prepared, or each with its arguments. A URL may come from an app with any of
// the modes of pgx, some of which leave types of arguments to be guessed, and with
// caches of any size. Whoever asks there for no prepared statements, for the sake of
// a pooler, gets none.
func decideMode(cfg *pgx.ConnConfig) {
	prepared := cfg.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement && cfg.StatementCacheCapacity > 0
	Prepare(cfg)
	if !prepared {
		cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
}

// Prepare has a connection prepare its statements, whatever its URL says: for a
// session that is ours alone.
func Prepare(cfg *pgx.ConnConfig) {
	cfg.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	cfg.StatementCacheCapacity, cfg.DescriptionCacheCapacity = statementCache, statementCache
}

// checkPool refuses what pgx accepts of pool_ parameters and cannot work with: a
// pool whose health is looked at every 0s ends the process.
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
