package store

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	MaxListBytes = maxListBytes
	ExportLimit  = exportLimit
	SQLPlainPlan = sqlPlainPlan
)

// Traced returns a store like s whose statements are shown to a tracer. The
// caller closes it.
func (s *Store) Traced(ctx context.Context, tracer pgx.QueryTracer) (*Store, error) {
	traced, err := Open(ctx, s.cfg)
	if err != nil {
		return nil, err
	}
	cfg := traced.rest.pool.Config()
	cfg.ConnConfig.Tracer = tracer
	traced.rest.pool.Close()
	traced.rest.pool, err = pgxpool.NewWithConfig(ctx, cfg)
	return traced, err
}

// SetListScan makes pages of narrowed lists end after so many rows.
func (s *Store) SetListScan(rows int) { s.scan = rows }
