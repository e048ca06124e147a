package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// A look reads what is new since the last complete one, so it does not read what
// an old snapshot keeps from being cleaned away: millions of dead changes,
// perhaps. For the first look of the next leader to be as small, the snapshot is
// written down now and then. It says that the changes visible in it have been
// moved, which stays true: an old one costs time and nothing else.

// note is what was written down last, by whichever leader.
type note struct {
	id     int64  // of the row
	seen   string // snapshot
	at     time.Time
	moved  int   // changes since then
	system int64 // identifier of this cluster; 0 is unknown
}

const (
	noteEvery = time.Second // so a first look reads over what was moved in that time
	noteMoved = 10_000      // or over so much
)

// looked notes that a look moved so many changes, and either left some behind or
// none that its snapshot shows.
func (s *Session) looked(snapshot string, moved int, left bool) {
	s.noted.moved += moved
	if !left {
		s.seen = snapshot
	}
}

// prepareLook does what is due before a look. Only an error that ends the session
// keeps the look from taking place.
func (s *Session) prepareLook(ctx context.Context) error {
	err := errors.Join(s.writeNote(ctx), s.searchOn(ctx))
	if err != nil && s.Alive() && ctx.Err() == nil {
		s.log.Warn("the sequencer could not look after what it has moved; trying again", "error", err)
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

// The commit need not wait for the disk: should the row get lost, an earlier one
// is as true.
const sqlWriteNote = `
WITH gone AS (
    DELETE FROM taskfeed.looks
    WHERE id > @last - 8 -- now and then there is one whose answer got lost
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
	n.at = time.Now() // after an error too, or it would be tried at each look
	args := pgx.NamedArgs{"last": n.id, "seen": s.seen, "system": n.system}
	if err := s.conn.QueryRow(ctx, sqlWriteNote, args).Scan(&n.id); err != nil {
		return pg.Wrap("write down the last look", err)
	}
	n.seen, n.moved = s.seen, 0
	return nil
}

// A snapshot names transactions by number, so it means something only in the
// cluster that it was taken in and in whatever that became: a standby that was
// promoted, a backup of its files. These keep the system identifier, the oid of
// the table and all numbers up to the snapshot's, whatever their timeline. A dump
// that was loaded, here or elsewhere, has another oid or another identifier, and
// its numbers are not those of the transactions that will write here.
const sqlLookHolds = `
    changes_oid = 'taskfeed.changes'::regclass
    AND pg_snapshot_xmax(snapshot) <= pg_snapshot_xmax(pg_current_snapshot())
    AND system_identifier = `

const sqlRecallLook = `
SELECT id, CASE WHEN ` + sqlLookHolds + `@system THEN snapshot::text ELSE @nothing END
FROM taskfeed.looks
ORDER BY id DESC
LIMIT 1`

// recallLook has looks go on where those of the last leader ended. Where that is
// not known the next look reads the whole table.
func (s *Session) recallLook(ctx context.Context, tx pgx.Tx, system int64) error {
	s.seen, s.noted, s.search = seenNothing, note{system: system}, search{due: time.Now().Add(searchEvery)}
	err := tx.QueryRow(ctx, sqlRecallLook, pgx.NamedArgs{"system": system, "nothing": seenNothing}).Scan(&s.noted.id, &s.seen)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	s.noted.seen = s.seen
	return err
}
