package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// Internals that tests use.

const (
	PartitionWidth = partitionWidth
	JumpBy         = jumpBy
	MaxDepth       = maxDepth
	MaxPageBytes   = maxPageBytes
	SeenNothing    = seenNothing
	KeepCommands   = keepCommands
	SearchBlocks   = searchBlocks
)

// Feeds returns the pool that feeds are read through.
func (s *Store) Feeds() *pg.Pool { return s.feeds }

// Conn returns the session's connection. Use it while the session runs no statement.
func (s *Session) Conn() *pgx.Conn { return s.conn }

// PageSize is how many changes a look takes at most.
func (s *Session) PageSize() int { return s.pages.look }

// SetTimeout sets how long a statement may show no sign of life.
func (s *Session) SetTimeout(d time.Duration) { s.timeout = d }

// Seen returns the snapshot that bounds the next look.
func (s *Session) Seen() string { return s.seen }

// SetSeen bounds the next look by a snapshot.
func (s *Session) SetSeen(snapshot string) { s.seen = snapshot }

// NoteNow makes the next AfterLook store the snapshot of the last look, and SearchNow makes
// it search for changes that were missed.
func (s *Session) NoteNow()   { s.noted.at = time.Time{} }
func (s *Session) SearchNow() { s.search.due = time.Time{} }

// SetPages makes pages small enough for a test to fill.
func (s *Session) SetPages(look, backlog, most int) {
	s.pages.look, s.pages.backlog, s.pages.most = look, backlog, most
}

// SetPageBytes does so for their data.
func (s *Session) SetPageBytes(look, backlog int) {
	s.pages.lookBytes, s.pages.backlogBytes = look, backlog
}

// Look returns the ids of the changes that a look bounded by a snapshot finds.
func Look(ctx context.Context, tx pgx.Tx, seen string) ([]int64, error) {
	rows, _ := tx.Query(ctx, "SELECT id"+sqlUnseen, pgx.NamedArgs{"seen": seen})
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

// ExplainLook returns the plan of a look, as JSON.
func (s *Session) ExplainLook(ctx context.Context, seen string) (plan []byte, err error) {
	err = s.conn.QueryRow(ctx, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT id"+sqlUnseen, pgx.NamedArgs{"seen": seen}).Scan(&plan)
	return plan, err
}

// ExplainMove makes a move and returns its plan.
func (s *Session) ExplainMove(ctx context.Context, limit int) (plan []byte, err error) {
	args := pgx.NamedArgs{"seen": s.seen, "limit": limit, "bytes": s.pages.lookBytes}
	err = s.conn.QueryRow(ctx, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+sqlMove, args).Scan(&plan)
	return plan, err
}

// ExplainMoveBacklog moves the given changes as a page of a backlog and returns the
// plans of both statements.
func (s *Session) ExplainMoveBacklog(ctx context.Context, places []pgtype.TID, ids []int64) (plans [2][]byte, err error) {
	args := pgx.NamedArgs{"places": places, "ids": ids}
	for i, statement := range []string{sqlAppendBacklog, sqlDeleteBacklog} {
		if err := s.conn.QueryRow(ctx, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+statement, args).Scan(&plans[i]); err != nil {
			return plans, err
		}
	}
	return plans, nil
}

// MaxScan is how many events one read of a narrowed feed passes.
const MaxScan = maxScan

// ExplainReach returns the plan of the statement that measures a narrowed feed.
func ExplainReach(ctx context.Context, conn *pgx.Conn, f taskfeed.Filter, after taskfeed.Cursor) (plan []byte, err error) {
	batch := &pgx.Batch{}
	batch.Queue(pg.WalkIndexes)
	batch.Queue("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+reachStatement(f), pageArgs(f, after, extent{events: 1, bytes: maxPageBytes, scan: maxScan})).
		QueryRow(func(row pgx.Row) error { return row.Scan(&plan) })
	return plan, conn.SendBatch(ctx, batch).Close()
}

// ExplainAfter returns the plan of one page of a feed, in a batch as After reads it.
func ExplainAfter(ctx context.Context, conn *pgx.Conn, f taskfeed.Filter, after taskfeed.Cursor, limit int) (plan []byte, err error) {
	batch := &pgx.Batch{}
	batch.Queue(pg.WalkIndexes)
	args := pageArgs(f, after, extent{events: limit, bytes: maxPageBytes, scan: maxScan})
	if measured(f) {
		reach, err := feedReach(ctx, conn, f, args)
		if err != nil {
			return nil, err
		}
		if reach > 0 {
			args["reach"] = int64(reach)
		}
	}
	batch.Queue("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+pageStatement(f), args).
		QueryRow(func(row pgx.Row) error { return row.Scan(&plan) })
	return plan, conn.SendBatch(ctx, batch).Close()
}

// ForgetSources makes the session read anew which tables are attached.
func (s *Session) ForgetSources() { s.sources = sources{} }
