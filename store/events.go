package store

import (
	"cmp"
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/eventlog"
	"github.com/taskfeed/taskfeed/store/internal/pg"
	"github.com/taskfeed/taskfeed/store/internal/walk"
)

// maxPageBytes bounds the data of one page of events, as eventlog.DataSize measures it;
// a page holds at least one event. It is small enough for a slow connection: the page
// must arrive within the time of one statement.
const maxPageBytes = 512 << 10

// pageStatement returns the statement of one page of a feed. It ends the page before
// it grows too large; the first event always fits. Its rows end with how many events
// there were to choose from, up to the limit.
func pageStatement(f taskfeed.Filter) string {
	conditions := []string{"id > @after"}
	if len(f.Types) > 0 {
		conditions = append(conditions, "type = ANY (@types::text[])")
	}
	if measured(f) {
		conditions = append(conditions, "id <= @reach")
	}
	return `
SELECT ` + eventlog.Scanned + `, candidates
FROM (
    SELECT ` + eventlog.Columns + `, sum(size) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) - size AS earlier, count(*) OVER () AS candidates
    FROM (
        SELECT ` + eventlog.Columns + `, ` + eventlog.DataSize + ` AS size
        FROM (
` + walk.Indent(3, walksOf(f, eventlog.Columns, func(walk.Walk) string { return "LIMIT @limit" }, conditions...)) + `) AS feed
        ORDER BY id
        LIMIT @limit) AS sized) AS summed
WHERE earlier < @bytes
ORDER BY id`
}

// maxScan is how many events a read of a feed that is narrowed by type passes in all
// walks, whatever it finds: rows that the filter leaves out are read all the same, and
// one turn at the log should take about as long as any other.
const maxScan = 5000

// reachStatement returns the statement that says how far a measured read goes, 0 for to
// the end.
func reachStatement(f taskfeed.Filter) string {
	return `
SELECT coalesce(min(id), 0)
FROM (
` + walk.Indent(1, walksOf(f, "id", func(w walk.Walk) string { return "OFFSET " + cmp.Or(w.Quota, "@scan") + "\nLIMIT 1" }, "id > @after")) + `) AS ends`
}

// walksOf returns the rows of a feed along its indexes, each up to a limit.
func walksOf(f taskfeed.Filter, columns string, limit func(walk.Walk) string, conditions ...string) string {
	var walks []string
	for _, w := range eventlog.Walks(f, true) {
		walks = append(walks, w.After(conditions...).Select(columns, eventlog.Table, walk.Ascending, limit(w)))
	}
	return walk.Union(walks)
}

// measured reports whether a read finds out first how far it goes, because its walks pass
// events that are not of its page.
func measured(f taskfeed.Filter) bool { return len(f.Types) > 0 || len(f.Feeds) > 0 }

func pageArgs(f taskfeed.Filter, after taskfeed.Cursor, e extent) pgx.NamedArgs {
	types := make([]string, 0, len(f.Types)+1) // a type that pgx knows without asking the database
	for _, t := range f.Types {
		types = append(types, string(t))
	}
	if len(types) > 0 {
		types = append(types, string(taskfeed.TypeFeedReset)) // see taskfeed.Filter
	}
	return pgx.NamedArgs{"after": after, "limit": e.events, "bytes": e.bytes, "scan": e.scan - 1, "reach": int64(taskfeed.MaxID),
		"user_id": f.UserID, "users": eventlog.Users(f.UserID, f.Feeds), "quotas": e.quotas, "task_id": f.TaskID, "types": types}
}

const sqlExpiredThrough = `
SELECT expired_through
FROM taskfeed.log_state`

// After returns at most limit events that match f after the cursor, oldest first, and
// whether there may be more. If so, no other event up to through matches. A page may
// end early when its data is large, or when a filter by type has passed many events;
// then it may be empty. A compact filter leaves out events that no longer matter. It returns CodeGone when retention has dropped events after the
// cursor, whether they match or not. A cursor of 0 asks for all events that are kept
// and is never gone.
func (s *Store) After(ctx context.Context, f taskfeed.Filter, after taskfeed.Cursor, limit int) (events []taskfeed.Event, through taskfeed.Cursor, more bool, err error) {
	ctx, cancel := s.feeds.Bound(ctx)
	defer cancel()
	err = s.feeds.Do(ctx, func(db pg.Conn) (err error) {
		events, through, more, err = eventsAfter(ctx, db, f, after, limit)
		return err
	})
	return events, through, more, pg.Wrap("read events", err)
}

// After is [Store.After] over the session, which does not wait for the pool.
func (s *Session) After(ctx context.Context, f taskfeed.Filter, after taskfeed.Cursor, limit int) (events []taskfeed.Event, through taskfeed.Cursor, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err = pg.WithFreshPlans(ctx, s.conn, func() (err error) {
		events, through, more, err = eventsAfter(ctx, s.conn, f, after, limit)
		return err
	})
	return events, through, more, err
}

// eventsAfter reads a page, that of groups in several rounds if need be.
func eventsAfter(ctx context.Context, db pg.Querier, f taskfeed.Filter, after taskfeed.Cursor, limit int) (events []taskfeed.Event, through taskfeed.Cursor, more bool, err error) {
	if f.Compact {
		return compactAfter(ctx, db, f, after, limit)
	}
	if len(f.Feeds) > 0 {
		return eventsOfGroups(ctx, db, f, after, limit)
	}
	return readEvents(ctx, db, f, after, extent{events: limit, bytes: maxPageBytes, scan: maxScan})
}

// extent is how much one read may return and pass.
type extent struct {
	events int
	bytes  int     // the event that exceeds it ends the page
	scan   int     // events that each walk passes
	quotas []int32 // events that the walk of each user passes, less one
}

func readEvents(ctx context.Context, db pg.Querier, f taskfeed.Filter, after taskfeed.Cursor, e extent) (events []taskfeed.Event, through taskfeed.Cursor, more bool, err error) {
	var expired, reach taskfeed.Cursor
	candidates := 0
	args := pageArgs(f, after, e)
	if measured(f) {
		// Measured in an earlier statement: events that come in between have greater
		// ids.
		if reach, err = feedReach(ctx, db, f, args); err != nil {
			return nil, 0, false, pg.Wrap(fmt.Sprintf("measure events after %s", after), err)
		}
		if reach > 0 {
			args["reach"] = int64(reach)
		}
	}
	batch := &pgx.Batch{} // one transaction
	batch.Queue(pg.WalkIndexes)
	batch.Queue(pageStatement(f), args).Query(func(rows pgx.Rows) (err error) {
		events, _, err = eventlog.Collect(rows, e.bytes, eventlog.Bytes, func(row pgx.CollectableRow, _ ...any) (e taskfeed.Event, err error) {
			return e, row.Scan(append(eventlog.Targets(&e), &candidates)...)
		})
		return err
	})
	// Read after the events, so that a partition dropped in between is noticed.
	batch.Queue(sqlExpiredThrough).QueryRow(func(row pgx.Row) error {
		return row.Scan(&expired)
	})
	if err := db.SendBatch(ctx, batch).Close(); err != nil {
		return nil, 0, false, pg.Wrap(fmt.Sprintf("read events after %s", after), err)
	}
	if after > 0 && after < expired {
		return nil, 0, false, gone(after)
	}
	if n := len(events); n > 0 && (candidates == e.events || candidates > n) {
		return events, events[n-1].ID, true, nil
	}
	return events, reach, reach > 0, nil
}

// feedReach returns how far a measured read goes, 0 for to the end.
func feedReach(ctx context.Context, db pg.Querier, f taskfeed.Filter, args pgx.NamedArgs) (reach taskfeed.Cursor, err error) {
	batch := &pgx.Batch{}
	batch.Queue(pg.WalkIndexes)
	batch.Queue(reachStatement(f), args).QueryRow(func(row pgx.Row) error { return row.Scan((*int64)(&reach)) })
	return reach, db.SendBatch(ctx, batch).Close()
}

const sqlHead = `
SELECT CASE WHEN is_called THEN last_value ELSE 0 END
FROM taskfeed.event_id`

// Head returns a cursor that no event in the log exceeds. Events up to it may not be
// committed yet.
func (s *Store) Head(ctx context.Context) (taskfeed.Cursor, error) {
	return s.readCursor(ctx, "read head of log", func(ctx context.Context, db pg.Querier) (c taskfeed.Cursor, err error) {
		return c, db.QueryRow(ctx, sqlHead).Scan(&c)
	})
}

// LastID returns the id of the last committed event, even if retention has dropped it,
// and 0 before the first event. Every event up to it that is kept can be read.
func (s *Store) LastID(ctx context.Context) (taskfeed.Cursor, error) {
	return s.readCursor(ctx, "read last event", eventlog.LastID)
}

func (s *Store) readCursor(ctx context.Context, doing string, read func(context.Context, pg.Querier) (taskfeed.Cursor, error)) (c taskfeed.Cursor, err error) {
	ctx, cancel := s.feeds.Bound(ctx)
	defer cancel()
	err = s.feeds.Do(ctx, func(db pg.Conn) (err error) {
		c, err = read(ctx, db)
		return err
	})
	return c, pg.Wrap(doing, err)
}

// LastID is [Store.LastID] over the session, which does not wait for the pool.
func (s *Session) LastID(ctx context.Context) (taskfeed.Cursor, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var c taskfeed.Cursor
	err := pg.WithFreshPlans(ctx, s.conn, func() (err error) {
		c, err = eventlog.LastID(ctx, s.conn)
		return err
	})
	return c, pg.Wrap("read last event", err)
}
