package store

import (
	"context"

	"github.com/taskfeed/taskfeed/store/internal/pg"
)

const sqlTempFileLimit = `
SELECT CASE setting WHEN '-1' THEN -1 ELSE setting::bigint * 1024 END
FROM pg_settings
WHERE name = 'temp_file_limit'`

// TempFileLimit returns how many bytes of temporary files one session may use
// (temp_file_limit), -1 for no limit. A sort that needs more fails.
func (s *Store) TempFileLimit(ctx context.Context) (limit int64, err error) {
	ctx, cancel := s.checks.Bound(ctx)
	defer cancel()
	err = s.checks.Do(ctx, func(db pg.Conn) error {
		return db.QueryRow(ctx, sqlTempFileLimit).Scan(&limit)
	})
	return limit, pg.Wrap("read temp_file_limit", err)
}
