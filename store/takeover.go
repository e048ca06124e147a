package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// sqlCluster identifies the cluster and its timeline. Any role may call these
// functions.
const sqlCluster = `
SELECT c.system_identifier, ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
FROM pg_control_system() AS c`

const sqlName = `
SELECT concat_ws('/', c.system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8), d.oid)
FROM pg_control_system() AS c, pg_database AS d
WHERE d.datname = current_database()`

// Name names the database that the session is in. A standby that took over, a restored
// backup and a database that was made anew have another name.
func (s *Session) Name(ctx context.Context) (name string, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err = s.conn.QueryRow(ctx, sqlName).Scan(&name)
	return name, pg.Wrap("name the database", err)
}

const sqlKnownCluster = `
SELECT coalesce(system_identifier, 0), coalesce(timeline, 0)
FROM taskfeed.log_state
FOR UPDATE`

const sqlRememberCluster = `
UPDATE taskfeed.log_state
SET system_identifier = @system, timeline = @timeline`

// The epoch is at least the time: after a restore of an old backup it is above all that
// servers have heard of.
const sqlJump = `
UPDATE taskfeed.log_state
SET epoch = greatest(epoch + 1, extract(epoch FROM clock_timestamp())::bigint),
    epoch_from = (SELECT setval('taskfeed.event_id', greatest(last_value, @seen) + @by) FROM taskfeed.event_id)`

// jumpBy is more events than a standby or a backup can be behind.
const jumpBy = 1_000_000

// TakeOver prepares a new leader. When the log was last written in another cluster or
// on another timeline (a failover, a restore), or when the caller has seen events
// beyond the head of this log, it makes ids jump, so that no id that a client may have
// seen is used again, and raises the epoch. It reports whether they jumped. Looks continue where those of the
// last leader ended, unless its snapshots mean nothing in this cluster.
func (s *Session) TakeOver(ctx context.Context, seen taskfeed.Cursor) (jumped bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err = pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
		var system, timeline, knownSystem, knownTimeline int64
		var head taskfeed.Cursor
		if err := tx.QueryRow(ctx, sqlCluster).Scan(&system, &timeline); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, sqlKnownCluster).Scan(&knownSystem, &knownTimeline); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, sqlHead).Scan(&head); err != nil {
			return err
		}
		if err := s.recallLook(ctx, tx, system); err != nil {
			return err
		}
		moved := knownSystem != 0 && (system != knownSystem || timeline != knownTimeline)
		if jumped = moved || seen > head; jumped {
			if _, err := tx.Exec(ctx, sqlJump, pgx.NamedArgs{"seen": seen, "by": jumpBy}); err != nil {
				return err
			}
		}
		if system == knownSystem && timeline == knownTimeline {
			return nil
		}
		_, err := tx.Exec(ctx, sqlRememberCluster, pgx.NamedArgs{"system": system, "timeline": timeline})
		return err
	})
	return jumped, pg.Wrap("take over the log", err)
}
