package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// maxDepth bounds how far Figures counts the changes.
const maxDepth = 100_000

// captureTriggers is how many triggers of ours the table of tasks has: one checks new
// tasks, the others capture inserts, updates and deletes.
const captureTriggers = 4

// Figures are what metrics and health report about the database.
type Figures struct {
	// BufferDepth is how many changes wait to be moved into the log; 100,000 means
	// that many or more.
	BufferDepth int

	// OldestWriter is the age of the oldest open transaction of this database that has
	// written something, including prepared ones; 0 when there is none. Such a
	// transaction delays only its own changes. The role needs pg_read_all_stats to see
	// transactions of other roles.
	OldestWriter time.Duration

	// QueueUsage is how much of the cluster's NOTIFY queue is in use, from 0 to 1.
	// At 1 every NOTIFY fails. It grows while a session that listens stays in a
	// transaction.
	QueueUsage float64
}

// The count starts at the snapshot of the last look that is stored, and with the newest
// changes: so it passes over few changes that were moved and that an old snapshot
// keeps.
const sqlFigures = `
WITH last AS MATERIALIZED (
    SELECT coalesce((
        SELECT CASE WHEN ` + sqlLookHolds + `(SELECT system_identifier FROM taskfeed.log_state) THEN snapshot END
        FROM taskfeed.looks
        ORDER BY id DESC
        LIMIT 1), '` + seenNothing + `') AS seen
)
SELECT
    (SELECT count(*)
     FROM (SELECT
           FROM taskfeed.changes
           WHERE xid >= pg_snapshot_xmax((SELECT seen FROM last))
           ORDER BY xid DESC
           LIMIT @most) AS waiting)
    + (SELECT count(*)
       FROM (SELECT
             FROM taskfeed.changes
             WHERE xid = ANY (ARRAY(
                 SELECT x
                 FROM last, pg_snapshot_xip(seen) AS x
                 WHERE pg_visible_in_snapshot(x, pg_current_snapshot())))
             LIMIT @most) AS late),
    (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(began)), 0)::float8
     FROM (SELECT xact_start AS began
           FROM pg_stat_activity
           WHERE datname = current_database()
             AND backend_xid IS NOT NULL
           UNION ALL
           SELECT prepared
           FROM pg_prepared_xacts
           WHERE database = current_database()) AS writers),
    pg_notification_queue_usage()`

// A session that plays a replica fires no ordinary triggers. This does not see such
// sessions; a setting that makes all sessions replicas is a hazard.
const sqlCapturing = `
SELECT (SELECT count(*)
     FROM pg_trigger AS t
     JOIN pg_proc AS p ON p.oid = t.tgfoid
     WHERE t.tgrelid = 'taskfeed.tasks'::regclass
       AND p.pronamespace = 'taskfeed'::regnamespace
       AND t.tgenabled IN ('O', 'A')) = @triggers`

// Figures reads the figures. It is cheap enough for every scrape.
func (s *Store) Figures(ctx context.Context) (Figures, error) {
	ctx, cancel := s.checks.Bound(ctx)
	defer cancel()
	var f Figures
	var age float64 // seconds
	err := s.checks.Do(ctx, func(db pg.Conn) error {
		batch := &pgx.Batch{}
		batch.Queue(pg.WalkIndexes)
		batch.Queue(sqlFigures, pgx.NamedArgs{"most": maxDepth}).QueryRow(func(row pgx.Row) error {
			return row.Scan(&f.BufferDepth, &age, &f.QueueUsage)
		})
		return db.SendBatch(ctx, batch).Close()
	})
	if err != nil {
		return Figures{}, pg.Wrap("read figures", err)
	}
	f.BufferDepth = min(f.BufferDepth, maxDepth)
	f.OldestWriter = time.Duration(max(age, 0) * float64(time.Second))
	return f, nil
}

// Capturing reports whether all triggers that capture changes of tasks are enabled. It
// reads the catalog only.
func (s *Store) Capturing(ctx context.Context) (yes bool, err error) {
	ctx, cancel := s.checks.Bound(ctx)
	defer cancel()
	err = s.checks.Do(ctx, func(db pg.Conn) error {
		return db.QueryRow(ctx, sqlCapturing, pgx.NamedArgs{"triggers": captureTriggers}).Scan(&yes)
	})
	return yes, pg.Wrap("look for the capture triggers", err)
}
