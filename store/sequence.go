package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/locks"
	"github.com/taskfeed/taskfeed/store/internal/eventlog"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// pages bounds how much one statement of the sequencer takes. Bytes are estimates
// (sqlChangeSize); a page holds at least one change.
type pages struct {
	look         int  // changes in one ordinary move
	lookBytes    int  // of their data, which the move returns over the connection
	backlog      int  // changes in one move of a backlog
	backlogBytes int  // of their data, which is written in one transaction
	fold         int  // changes that are folded at once
	foldBytes    int  // of their data, for it is here meanwhile
	most         int  // changes of a backlog that are sorted at once
	inMemory     bool // as few of them as are sorted in memory
}

var defaultPages = pages{
	look:         1000,
	lookBytes:    512 << 10,
	backlog:      20_000,
	backlogBytes: 32 << 20,
	fold:         5000,
	foldBytes:    4 << 20,
	most:         2_000_000,
}

// halved returns pages that take less at once, but at least one change.
func (p pages) halved(times int32) pages {
	for _, n := range []*int{&p.look, &p.lookBytes, &p.backlog, &p.backlogBytes, &p.fold, &p.foldBytes, &p.most} {
		*n = max(1, *n>>times)
	}
	return p
}

// seenNothing is a snapshot before every transaction.
const seenNothing = "1:1:"

// sqlUnseen finds the changes that are new since the snapshot seen: those of
// transactions that began after it, and those of transactions that were in progress
// then and have ended since. It skips transactions still in progress, so a long one
// does not make the look longer. xip has top-level xids only, like changes.xid.
const sqlUnseen = `
    FROM taskfeed.changes
    WHERE xid >= pg_snapshot_xmax(@seen::text::pg_snapshot)
       OR xid = ANY (ARRAY(
           SELECT x
           FROM pg_snapshot_xip(@seen::text::pg_snapshot) AS x
           WHERE pg_visible_in_snapshot(x, pg_current_snapshot())))
    ORDER BY id`

// A change of progress has no data: building it costs less here, for many changes at
// once, than in the app's statement.
const (
	changeColumns = `id, user_id, task_id, type, version, created_at, coalesce(data,
        ` + sqlProgressData + `) AS data`
	sqlProgressData = `jsonb_strip_nulls(jsonb_build_object('progress', progress, 'message', message))`
	sqlChangeSize   = `CASE WHEN data IS NULL THEN 32 + coalesce(octet_length(message), 0) ELSE ` + eventlog.DataSize + ` END`
)

// sqlAppend follows a CTE moved of deleted changes: it numbers them in the order
// of capture, appends them to the log and rings for the followers, if any. The
// lowest visible ids go first. Order by (xid, id) would be wrong: it inverts two
// changes of one row when the older transaction wrote last.
const sqlAppend = `
appended AS (
    INSERT INTO taskfeed.events (id, user_id, task_id, type, version, data, created_at)
    SELECT nextval('taskfeed.event_id'), user_id, task_id, type, version, data, created_at
    FROM (SELECT ` + eventlog.Columns + ` FROM moved ORDER BY id) AS in_order
    RETURNING ` + eventlog.Columns + `
), ` + sqlTold

// sqlTold follows a CTE appended of events.
const sqlTold = `told AS (
    SELECT pg_notify('` + channelLog + `', '')
    FROM (SELECT FROM appended LIMIT 1) AS something
    WHERE NOT pg_try_advisory_xact_lock(` + locks.Followers + `) -- a follower shares it
)`

// sqlPageOfChanges chooses what one move takes.
const sqlPageOfChanges = `
    SELECT place, fact, sum(size) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) - size AS earlier
    FROM (SELECT ctid AS place, id, source IS NOT NULL AS fact, ` + sqlChangeSize + ` AS size` + sqlUnseen + ` LIMIT @limit) AS candidates`

// A page with facts of attached tables is left as it is: it must be folded.
const sqlMove = `
WITH page AS MATERIALIZED (` + sqlPageOfChanges + `
), moved AS (
    DELETE FROM taskfeed.changes
    WHERE ctid = ANY (ARRAY(
        SELECT place
        FROM page
        WHERE earlier < @bytes
          AND NOT EXISTS (SELECT FROM page AS p WHERE p.fact)))
    RETURNING ` + changeColumns + `
), ` + sqlAppend + `
SELECT coalesce(id, 0) AS id, coalesce(user_id, '') AS user_id, coalesce(task_id, '') AS task_id, coalesce(type, '') AS type,
    coalesce(version, 0) AS version, data, coalesce(created_at, 'epoch') AS created_at,
    (SELECT count(*) FROM page) AS candidates, (SELECT ` + sqlSnapshot + `) AS snapshot,
    EXISTS (SELECT FROM page AS p WHERE p.fact) AS facts
FROM (VALUES (true)) AS always
LEFT JOIN appended ON true
LEFT JOIN told ON true
ORDER BY id`

const sqlSnapshot = `pg_current_snapshot()::text`

// Move takes the visible changes with the lowest ids, appends them to the log and
// returns when that is on disk. A change is either in changes or in the log, so a crash
// at any point neither loses nor doubles one. After an error either nothing was moved,
// or the events are in the log: read them there. Only the leader may call it.
func (s *Session) Move(ctx context.Context) (m taskfeed.Moved, err error) {
	var facts bool
	err = s.patiently(ctx, s.timeout, func(ctx context.Context) (err error) {
		rows, _ := s.conn.Query(ctx, sqlMove, // the rows report the error too
			pgx.NamedArgs{"seen": s.seen, "limit": s.pages.look, "bytes": s.pages.lookBytes})
		var snapshot string
		if m, snapshot, facts, err = collectMoved(rows, s.pages.look); err == nil && !facts {
			s.looked(snapshot, m.Count, m.More)
		}
		return err
	})
	switch {
	case err != nil:
		return taskfeed.Moved{}, pg.Wrap("move changes", err)
	case facts:
		return s.foldLook(ctx)
	case m.More:
		return m, nil
	}
	return s.tendSources(ctx, m)
}

// collectMoved reads what a move returns, the snapshot that it saw, and whether it
// left the page to be folded.
func collectMoved(rows pgx.Rows, limit int) (m taskfeed.Moved, snapshot string, facts bool, err error) {
	var e taskfeed.Event
	candidates := 0
	_, err = pgx.ForEachRow(rows, append(eventlog.Targets(&e), &candidates, &snapshot, &facts), func() error {
		if e.ID > 0 { // a move of no change returns one row too
			m.Events = append(m.Events, e) // pgx scans into new memory each time
		}
		return nil
	})
	m.Count, m.Last = len(m.Events), e.ID
	m.More = candidates == limit || candidates > m.Count
	return m, snapshot, facts, err
}
