package history

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/eventlog"
	"github.com/taskfeed/taskfeed/store/internal/pg"
	"github.com/taskfeed/taskfeed/store/internal/walk"
)

// eventList is a checked query for events in normal form, and how it is read.
type eventList struct {
	q           EventQuery
	fingerprint uint64
	byTime      bool
	direction   walk.Direction
	args        pgx.NamedArgs // but for the place, the limit, the bytes and the scan
}

func newEventList(q EventQuery) (*eventList, error) {
	q, err := normalEventQuery(q)
	if err != nil {
		return nil, err
	}
	direction := walk.Ascending
	if q.Sort == SortIDDesc {
		direction = walk.Descending
	}
	return &eventList{q: q, fingerprint: fingerprint(q), direction: direction, byTime: q.Time != TimeRange{},
		args: pgx.NamedArgs{"user_id": q.UserID, "users": eventlog.Users(q.UserID, q.Feeds), "task_id": q.TaskID, "types": texts(q.Types), "from": q.Time.From, "to": q.Time.To}}, nil
}

// listedEvent is eventlog.Scanned without the data of rows that only end a walk.
var listedEvent = strings.Replace(eventlog.Scanned, " data,", " CASE WHEN fits THEN data END AS data,", 1)

// pageBy says how a page in one order is read.
func (l *eventList) pageBy(columns ...string) walk.Page {
	return walk.Page{Table: eventlog.Table, Columns: eventlog.Columns, Scanned: listedEvent, Size: eventlog.DataSize, By: columns, Direction: l.direction}
}

// normalEventQuery checks all but After and Limit, which it leaves out.
func normalEventQuery(q EventQuery) (_ EventQuery, err error) {
	if err := pg.CheckText("user_id", q.UserID); err != nil {
		return q, err
	}
	if q.Feeds, err = normalFeeds(q.Feeds); err != nil {
		return q, err
	}
	if err := pg.CheckText("task_id", q.TaskID); err != nil {
		return q, err
	}
	if len(q.Types) > maxTypes {
		return q, pg.Refuse("type", fmt.Sprintf("may be given %d times at most", maxTypes))
	}
	for _, t := range q.Types {
		if err := pg.CheckText("type", string(t)); err != nil {
			return q, err
		}
	}
	q.Types = slices.Compact(slices.Sorted(slices.Values(q.Types)))
	// A broadcast belongs to no task, and without a user all are selected anyway.
	q.IncludeBroadcast = q.IncludeBroadcast && q.UserID != "" && q.TaskID == ""
	q.Sort, err = checkSort(q.Sort, SortIDDesc, SortID, SortIDDesc)
	if err != nil {
		return q, err
	}
	q.Time, err = checkRange("created", q.Time)
	q.After, q.Limit = "", 0
	return q, err
}

// normalFeeds checks the ids of groups and sorts them, so that their order does not
// matter.
func normalFeeds(feeds []string) ([]string, error) {
	for _, id := range feeds {
		if err := pg.CheckText("feed", id); err != nil {
			return nil, err
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(feeds))), nil
}

// ofUsers is the condition of rows of the user, or of the user and groups.
func ofUsers(feeds []string) string {
	if len(feeds) == 0 {
		return "user_id = @user_id"
	}
	return "user_id = ANY (@users::text[])"
}

// walks returns the indexes that have the list's events in the order of ids, and no
// others.
func (l *eventList) walks() []walk.Walk {
	return eventlog.Walks(taskfeed.Filter{UserID: l.q.UserID, Feeds: l.q.Feeds, All: l.q.UserID == "", TaskID: l.q.TaskID}, l.q.IncludeBroadcast || l.q.UserID == "")
}

// types returns the condition of the types, if any.
func (l *eventList) types() []string {
	if len(l.q.Types) == 0 {
		return nil
	}
	return []string{"type = ANY (@types::text[])"}
}

// times returns the conditions that hold a page to the range, after the place.
func (l *eventList) times() []string {
	conditions := []string{"(created_at, id) " + l.direction.Later + " (@at, @id)"}
	if !l.q.Time.From.IsZero() {
		conditions = append(conditions, "created_at >= @from")
	}
	if !l.q.Time.To.IsZero() {
		conditions = append(conditions, "created_at < @to")
	}
	return conditions
}

// byID returns the statement of a page by id.
func (l *eventList) byID() string {
	page := l.pageBy("id")
	var walks []string
	for _, w := range l.walks() {
		walks = append(walks, narrowed(page, w.After("id "+l.direction.Later+" @id"), l.types()))
	}
	return page.Of(walks...)
}

// narrowed is a walk whose rows have to meet conditions, if there are any.
func narrowed(page walk.Page, w walk.Walk, conditions []string) string {
	if len(conditions) == 0 {
		return page.Plain(w)
	}
	return page.Narrow(w, conditions)
}

// alongTime returns the statement of a page by time that reads everybody's events of
// the range and keeps those of the list.
func (l *eventList) alongTime() string {
	conditions := l.types()
	if l.q.TaskID != "" {
		conditions = append(conditions, "task_id = @task_id")
	}
	if l.q.IncludeBroadcast {
		conditions = append(conditions, "("+ofUsers(l.q.Feeds)+" OR user_id IS NULL)")
	} else if l.q.UserID != "" {
		conditions = append(conditions, ofUsers(l.q.Feeds))
	}
	page := l.pageBy("created_at", "id")
	return page.Of(narrowed(page, walk.Walk{Where: l.times(), By: page.By}, conditions))
}

// sorted returns the statement of a page by time that reads all events of a list which
// has few, and sorts those of the range.
func (l *eventList) sorted() string {
	page := l.pageBy("created_at", "id")
	var walks []string
	for _, w := range l.walks() {
		walks = append(walks, page.Sorted(w, append(l.times(), l.types()...)))
	}
	return page.Of(walks...)
}

// many returns the statement that says whether a list has too many events to be
// sorted.
func (l *eventList) many() string {
	var parts []string
	for _, w := range l.walks() {
		parts = append(parts, `EXISTS (
    SELECT
    FROM (
`+walk.Indent(2, w.Select("id", eventlog.Table, l.direction, "LIMIT @scan + 1"))+`) AS walked
    OFFSET @scan)`)
	}
	return "SELECT " + strings.Join(parts, " OR ")
}

// way returns the statement of a page. For a page by time there are two: no index has
// the events of one user or task by time. If these are few, they are all read and
// sorted. If they are many, a good part of everybody's events are among them, and those
// have an index by time.
func (l *eventList) way(ctx context.Context, db pg.Querier, args pgx.NamedArgs) (statement string, err error) {
	if !l.byTime {
		return l.byID(), nil
	}
	many := true
	if l.q.UserID != "" || l.q.TaskID != "" {
		batch := &pgx.Batch{}
		batch.Queue(pg.WalkIndexes)
		batch.Queue(l.many(), args).QueryRow(func(row pgx.Row) error { return row.Scan(&many) })
		err = db.SendBatch(ctx, batch).Close()
	}
	if many {
		return l.alongTime(), err
	}
	return l.sorted(), err
}

// start reads where the page after a token begins.
func (l *eventList) start(after string) (at time.Time, id int64, err error) {
	p := startOf(l.direction)
	if after == "" {
		if l.direction == walk.Descending {
			return p.at, taskfeed.MaxID + 1, nil
		}
		return p.at, 0, nil
	}
	if p, err = parseToken(after, l.fingerprint); err != nil {
		return p.at, 0, err
	}
	c, err := taskfeed.ParseCursor(p.key)
	if err != nil {
		return p.at, 0, errBadToken
	}
	return p.at, int64(c), nil
}

func (l *eventList) begins(after string) error {
	_, _, err := l.start(after)
	return err
}

// page reads the page that begins after a token.
func (l *eventList) page(ctx context.Context, db pg.Querier, after string, e extent) (page EventPage, err error) {
	at, id, err := l.start(after)
	if err != nil {
		return page, err
	}
	args := pgx.NamedArgs{"at": at, "id": id, "limit": e.items, "bytes": e.bytes, "scan": e.scan / (1 + len(l.q.Feeds))}
	maps.Copy(args, l.args)
	statement, err := l.way(ctx, db, args)
	if err != nil {
		return page, err
	}
	var last *taskfeed.Event
	batch := &pgx.Batch{} // one transaction
	batch.Queue(pg.WalkIndexes)
	batch.Queue(statement, args).Query(func(rows pgx.Rows) (err error) {
		page.Items, last, err = eventlog.Collect(rows, e.bytes, eventlog.Bytes, scanListed)
		return err
	})
	if err := db.SendBatch(ctx, batch).Close(); err != nil {
		return EventPage{}, err
	}
	if last != nil {
		page.Next = place{at: last.Timestamp, key: strconv.FormatInt(int64(last.ID), 10)}.token(l.fingerprint)
	}
	return page, nil
}

// scanListed scans an event of a list.
func scanListed(row pgx.CollectableRow, more ...any) (taskfeed.Event, error) {
	var e taskfeed.Event
	err := row.Scan(append(eventlog.Targets(&e), more...)...)
	e.Timestamp = e.Timestamp.UTC()
	return e, err
}

// ListEvents returns one page of the events that q selects, as far as the log keeps
// them. It returns CodeBadRequest for an invalid query, and CodeUnavailable, with
// advice, when the query takes too long. A page that would pass too many events which
// Types or Time leave out ends early, even without any event, and has Next: only a page
// without Next is the last.
func (r *Reader) ListEvents(ctx context.Context, q EventQuery) (EventPage, error) {
	if err := checkLimit(q.Limit); err != nil {
		return EventPage{}, err
	}
	return r.readEvents(ctx, "list events", q, q.After, r.pageOf(q.Limit))
}

// ExportEvents yields all events that q selects from q.After on, in order, and
// ignores q.Limit; see [Reader.ExportTasks].
func (r *Reader) ExportEvents(ctx context.Context, q EventQuery) iter.Seq2[taskfeed.Event, error] {
	return export(q.After, func(after string) ([]taskfeed.Event, string, error) {
		page, err := r.readEvents(ctx, "export events", q, after, r.pageOfExport())
		return page.Items, page.Next, err
	})
}

func (r *Reader) readEvents(ctx context.Context, doing string, q EventQuery, after string, e extent) (EventPage, error) {
	l, err := newEventList(q)
	if err != nil {
		return EventPage{}, err
	}
	bounded, cancel := r.pool.Bound(ctx)
	defer cancel()
	page, err := readPage(bounded, r, l, after, e)
	return page, pg.Late(ctx, doing, err)
}
