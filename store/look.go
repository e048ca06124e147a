package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// A look reads the changes that are new since the last complete look. So it does not
// read the dead changes that an old snapshot keeps, which may be millions. The leader
// stores the snapshot of its last complete look from time to time, so that the first
// look of the next leader is as small. A stored snapshot says that all changes visible
// in it have been moved. That stays true: an old snapshot costs time only.

// note is the snapshot that was stored last, by any leader.
type note struct {
	id     int64  // of the row
	seen   string // snapshot
	at     time.Time
	moved  int   // changes since then
	system int64 // identifier of this cluster; 0 is unknown
}

const (
	noteEvery = time.Second // so a first look rereads what was moved in that time
	noteMoved = 10_000      // changes, after which it is stored sooner
)

// looked records that a look moved so many changes, and whether it left any that its
// snapshot shows.
func (s *Session) looked(snapshot string, moved int, left bool) {
	s.noted.moved += moved
	if !left {
		s.seen = snapshot
	}
}

// AfterLook stores the snapshot of the last look and searches for missed changes, if that
// is due. Call it when the events of a look have been published, so that they do not wait
// for it. It returns an error only when the session has ended.
func (s *Session) AfterLook(ctx context.Context) error {
	err := errors.Join(s.writeNote(ctx), s.searchOn(ctx))
	if err != nil && s.Alive() && ctx.Err() == nil {
		s.log.Warn("the snapshot of the last look was not stored, or the search for missed changes failed; trying again", "error", err)
		return nil
	}
	return err
}

func (n *note) due(seen string) bool {
	if n.system == 0 || seen == seenNothing || seen == n.seen {
		return false
	}
	return n.moved >= noteMoved || n.moved > 0 && time.Since(n.at) >= noteEvery
}

// The commit need not wait for the disk: if the row is lost, an earlier one serves as
// well.
const sqlWriteNote = `
WITH gone AS (
    DELETE FROM taskfeed.looks
    WHERE id > @last - 8 -- there may be rows whose answer was lost
      AND id <= @last
)
INSERT INTO taskfeed.looks (snapshot, system_identifier, changes_oid)
SELECT @seen::text::pg_snapshot, @system, 'taskfeed.changes'::regclass
WHERE set_config('synchronous_commit', 'off', true) IS NOT NULL
RETURNING id`

func (s *Session) writeNote(ctx context.Context) error {
	n := &s.noted
	if !n.due(s.seen) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	n.at = time.Now() // after an error too: otherwise every look would try again
	args := pgx.NamedArgs{"last": n.id, "seen": s.seen, "system": n.system}
	if err := s.conn.QueryRow(ctx, sqlWriteNote, args).Scan(&n.id); err != nil {
		return pg.Wrap("store the snapshot of the last look", err)
	}
	n.seen, n.moved = s.seen, 0
	return nil
}

// A snapshot names transactions by number. So it is valid only in the cluster in which
// it was taken and in its copies: a standby that was promoted, a backup of its files.
// These keep the system identifier, the oid of the table and all transaction numbers up
// to those of the snapshot, on any timeline. A dump that was loaded has another oid or
// another identifier, and its numbers are not those of the transactions that write
// there.
const sqlLookHolds = `
    changes_oid = 'taskfeed.changes'::regclass
    AND pg_snapshot_xmax(snapshot) <= pg_snapshot_xmax(pg_current_snapshot())
    AND system_identifier = `

const sqlRecallLook = `
SELECT id, CASE WHEN ` + sqlLookHolds + `@system THEN snapshot::text ELSE @nothing END
FROM taskfeed.looks
ORDER BY id DESC
LIMIT 1`

// recallLook makes looks continue where those of the last leader ended. If that is
// unknown, the next look reads the whole table.
func (s *Session) recallLook(ctx context.Context, tx pgx.Tx, system int64) error {
	s.seen, s.noted, s.search = seenNothing, note{system: system}, search{due: time.Now().Add(searchEvery)}
	err := tx.QueryRow(ctx, sqlRecallLook, pgx.NamedArgs{"system": system, "nothing": seenNothing}).Scan(&s.noted.id, &s.seen)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	s.noted.seen = s.seen
	return err
}
