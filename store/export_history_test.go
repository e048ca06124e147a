package store

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	MaxListBytes = maxListBytes
	ExportLimit  = exportLimit
)

// Traced returns a store like s whose statements are shown to a tracer. The
// caller closes it.
func (s *Store) Traced(ctx context.Context, tracer pgx.QueryTracer) (*Store, error) {
	cfg := s.pool.Config()
	cfg.ConnConfig.Tracer = tracer
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &Store{cfg: s.cfg, pool: pool, listen: s.listen}, nil
}
