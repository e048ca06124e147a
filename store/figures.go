package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// maxDepth bounds how far Figures counts the changes.
const maxDepth = 100_000

// captureTriggers are the triggers without which changes are missed: one stamps
// the version of a task, three write its changes.
const captureTriggers = 4

// Figures are what metrics and health tell about the database.
type Figures struct {
	// BufferDepth is how many changes wait to be moved into the log; 100,000 means
	// that many or more.
	BufferDepth int

	// OldestWriter is the age of the oldest transaction of this database that has
	// written something and is not over, prepared ones among them; 0 when there is
	// none. Such a transaction delays only what it wrote itself. The role must be
	// granted pg_read_all_stats to see transactions of other roles.
	OldestWriter time.Duration

	// QueueUsage is how much of the cluster's NOTIFY queue is in use, from 0 to 1.
	// At 1 every NOTIFY fails; a session that listens and stays in a transaction
	// makes it grow.
	QueueUsage float64

	// Partitions is how many numbered partitions the log has.
	Partitions int

	// Capturing says that all triggers are enabled that make changes of tasks
	// known.
	Capturing bool
}

// The count goes by the index, whose size is that of what waits, while the table
// keeps the size of the largest backlog. Replication roles fire no ordinary
// triggers; a session that plays one is not seen here.
const sqlFigures = `
SELECT
    (SELECT count(*)
     FROM (SELECT FROM taskfeed.changes WHERE xid >= '0' ORDER BY xid LIMIT @most) AS waiting),
    (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(began)), 0)::float8
     FROM (SELECT xact_start AS began
           FROM pg_stat_activity
           WHERE datname = current_database()
             AND backend_xid IS NOT NULL
           UNION ALL
           SELECT prepared
           FROM pg_prepared_xacts
           WHERE database = current_database()) AS writers),
    pg_notification_queue_usage(),
    (SELECT count(*)
     FROM pg_inherits AS i
     JOIN pg_class AS c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'taskfeed.events'::regclass
       AND c.relname ~ '^events_[0-9]+$'),
    (SELECT count(*)
     FROM pg_trigger AS t
     JOIN pg_proc AS p ON p.oid = t.tgfoid
     WHERE t.tgrelid = 'taskfeed.tasks'::regclass
       AND p.pronamespace = 'taskfeed'::regnamespace
       AND t.tgenabled IN ('O', 'A'))`

// Figures reads the figures in one statement. It is cheap enough for every
// scrape, and dearer when vacuum cannot keep up with the changes.
func (s *Store) Figures(ctx context.Context) (Figures, error) {
	ctx, cancel := s.reading(ctx)
	defer cancel()
	var f Figures
	var age float64 // seconds
	var triggers int
	err := s.checks.do(ctx, func(db asked) error {
		return db.QueryRow(ctx, sqlFigures, pgx.NamedArgs{"most": maxDepth}).Scan(&f.BufferDepth, &age, &f.QueueUsage, &f.Partitions, &triggers)
	})
	if err != nil {
		return Figures{}, wrap("read figures", err)
	}
	f.OldestWriter = time.Duration(max(age, 0) * float64(time.Second))
	f.Capturing = triggers == captureTriggers
	return f, nil
}
