package history

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/eventlog"
	"github.com/taskfeed/taskfeed/store/internal/pg"
	"github.com/taskfeed/taskfeed/store/internal/walk"
)

// Unread events are counted along the indexes of feeds, from the mark on. The index does
// not know the type, so events that do not count are passed all the same: each walk ends
// after so many rows, whatever they are, and then there may be more.

const (
	maxUnreadScan   = 10_000 // rows that all walks pass together
	leastUnreadScan = taskfeed.MaxUnread + 1
)

const sqlMark = `
SELECT coalesce((SELECT through FROM taskfeed.read_marks WHERE user_id = @reader), 0)`

// unreadStatement counts the events of a feed by type, and says whether a walk of them
// ended early.
func unreadStatement(f taskfeed.Filter) string {
	var walks []string
	for _, w := range eventlog.Walks(f, true) {
		repeat := w.Repeat
		w.Repeat, w.Quota = nil, ""
		scan := w.After("id > @mark", "id <= @through").Select("user_id, id, type", eventlog.Table, walk.Ascending, "LIMIT @scan")
		sql := `(SELECT type, row_number() OVER () = @scan AS ends
FROM ` + scan + ` AS scanned)`
		if repeat != nil {
			sql = repeat(sql)
		}
		walks = append(walks, sql)
	}
	return `
SELECT type, count(*), bool_or(ends)
FROM (
` + walk.Indent(1, walk.Union(walks)) + `) AS unread
GROUP BY type`
}

// Unread counts the events up to through in the feeds of a filter that lie beyond the
// reader's mark: those of the filter's types, or else those of notable types. It looks
// at the first 10,000 or so beyond the mark. The filter has a UserID and no TaskID.
func (r *Reader) Unread(ctx context.Context, reader string, f taskfeed.Filter, through taskfeed.Cursor) (u taskfeed.Unread, err error) {
	for field, id := range map[string]string{"user_id": reader, "feed": f.UserID} {
		if err := pg.CheckText(field, id); err != nil {
			return u, err
		}
	}
	if f.Feeds, err = normalFeeds(f.Feeds); err != nil {
		return u, err
	}
	f.All, f.TaskID = false, ""
	caller := ctx
	ctx, cancel := r.pool.Bound(ctx)
	defer cancel()
	err = r.pool.Do(ctx, func(db pg.Conn) (err error) {
		u, err = countUnread(ctx, db, reader, f, through)
		return err
	})
	return u, pg.Late(caller, "count unread events", err)
}

func countUnread(ctx context.Context, db pg.Querier, reader string, f taskfeed.Filter, through taskfeed.Cursor) (taskfeed.Unread, error) {
	u := taskfeed.Unread{Types: make(map[taskfeed.Type]int)}
	if err := db.QueryRow(ctx, sqlMark, pgx.NamedArgs{"reader": reader}).Scan((*int64)(&u.Through)); err != nil {
		return u, err
	}
	users := eventlog.Users(f.UserID, f.Feeds)
	args := pgx.NamedArgs{"user_id": f.UserID, "users": users, "mark": int64(u.Through), "through": int64(through),
		"scan": max(maxUnreadScan/(len(users)+1), leastUnreadScan)}
	batch := &pgx.Batch{} // one transaction
	batch.Queue(pg.WalkIndexes)
	batch.Queue(unreadStatement(f), args).Query(func(rows pgx.Rows) error { return collectUnread(rows, f.Types, &u) })
	return u, db.SendBatch(ctx, batch).Close()
}

func collectUnread(rows pgx.Rows, types []taskfeed.Type, u *taskfeed.Unread) error {
	var t string
	var n int
	var ends bool
	_, err := pgx.ForEachRow(rows, []any{&t, &n, &ends}, func() error {
		u.More = u.More || ends
		if typ := taskfeed.Type(t); typ.Notable() && len(types) == 0 || slices.Contains(types, typ) {
			u.Total += n
			u.Types[typ] = min(n, taskfeed.MaxUnread)
		}
		return nil
	})
	if u.Total > taskfeed.MaxUnread {
		u.Total, u.More = taskfeed.MaxUnread, true
	}
	return err
}
