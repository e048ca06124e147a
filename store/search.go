package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// Looks rely on snapshots to find what is new. If that had a flaw, or if somebody had
// loaded changes by hand, a change would stay in the table for ever. So the sequencer
// also searches the whole table, a few blocks at a time, for changes that looks missed.
// Dead rows make a round of the search longer, and no look.

// search is how far the current round has come.
type search struct {
	block int64 // the next one to read
	due   time.Time
}

const (
	searchBlocks = 256 // in one statement: about 2 ms
	searchEvery  = 10 * time.Second
	searchShare  = 100 // a statement at most every so many times as long as one took
)

// A change that is visible in the snapshot of a complete look, and still here, was
// missed.
const sqlSearch = `
SELECT EXISTS (
        SELECT
        FROM taskfeed.changes
        WHERE ctid >= @first
          AND ctid < @beyond
          AND pg_visible_in_snapshot(xid, @seen::text::pg_snapshot)),
    pg_relation_size('taskfeed.changes') / current_setting('block_size')::bigint`

// searchOn searches the next blocks when that is due. If it finds a change, the next
// look reads the whole table.
func (s *Session) searchOn(ctx context.Context) error {
	began := time.Now()
	if s.seen == seenNothing || began.Before(s.search.due) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	beyond := s.search.block + searchBlocks
	var found bool
	var blocks int64
	err := s.conn.QueryRow(ctx, sqlSearch, pgx.NamedArgs{
		"first": firstOf(s.search.block), "beyond": firstOf(beyond), "seen": s.seen,
	}).Scan(&found, &blocks)
	pause := searchShare * time.Since(began)
	if beyond >= blocks {
		beyond, pause = 0, max(pause, searchEvery)
	}
	s.search.due = time.Now().Add(pause)
	if err != nil {
		return pg.Wrap("search for changes that looks missed", err)
	}
	s.search.block = beyond
	if found {
		s.log.Warn("looks missed changes: the next one reads the whole table")
		s.seen = seenNothing
	}
	return nil
}

// firstOf is the place before the first row of a block.
func firstOf(block int64) pgtype.TID {
	return pgtype.TID{BlockNumber: uint32(min(block, 1<<32-2)), Valid: true}
}
