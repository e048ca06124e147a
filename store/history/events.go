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
)

// eventList is a query for events in normal form, checked, and how it is read.
type eventList struct {
	q           EventQuery
	fingerprint uint64
	byTime      bool
	desc        bool
	args        pgx.NamedArgs // but for the place, the limit, the bytes and the scan
}

func newEventList(q EventQuery) (*eventList, error) {
	q, err := normalEventQuery(q)
	if err != nil {
		return nil, err
	}
	return &eventList{q: q, fingerprint: fingerprint(q), desc: q.Sort == SortIDDesc, byTime: q.Time != TimeRange{},
		args: pgx.NamedArgs{"user_id": q.UserID, "task_id": q.TaskID, "types": texts(q.Types), "from": q.Time.From, "to": q.Time.To}}, nil
}

// listedEvent is eventlog.Scanned without the data of a row that only ends a walk.
var listedEvent = strings.Replace(eventlog.Scanned, " data,", " CASE WHEN fits THEN data END AS data,", 1)

// statement returns the SQL of a page in one order along some walks.
func (l *eventList) statement(order string, walks []walk) string {
	return list{table: "taskfeed.events", raw: eventlog.Columns, columns: listedEvent, size: eventlog.DataSize, order: order, desc: l.desc, walks: walks}.statement()
}

// normalEventQuery checks all but After and Limit, which it leaves out.
func normalEventQuery(q EventQuery) (_ EventQuery, err error) {
	if err := pg.CheckText("user_id", q.UserID); err != nil {
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

// walks returns the ways to what the list is of, each in the order of ids: along
// one task's owners or one of them, along one user and perhaps the broadcasts, or
// along all. Nothing is left out on the way.
func (l *eventList) walks() []walk {
	switch {
	case l.q.TaskID != "" && l.q.UserID != "":
		return []walk{{where: []string{eventlog.OfTask, "user_id = @user_id"}, order: "task_id{desc}, id{desc}"}}
	case l.q.TaskID != "":
		return []walk{{where: []string{eventlog.OfTask, "user_id = owner"}, order: "task_id{desc}, id{desc}", eachOwner: true},
			{where: []string{eventlog.OfTask, "user_id IS NULL"}, order: "task_id{desc}, user_id{desc}, id{desc}"}}
	case l.q.UserID == "":
		return []walk{{order: "id{desc}"}}
	}
	walks := []walk{pinned("user_id", "@user_id", "id")}
	if l.q.IncludeBroadcast {
		// Ordered by user_id too, all of them null, for the index to have this order.
		walks = append(walks, walk{where: []string{"user_id IS NULL"}, order: "user_id{desc}, id{desc}"})
	}
	return walks
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
	conditions := []string{"(created_at, id) {>} (@at, @id)"}
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
	walks := l.walks()
	for i := range walks {
		walks[i].where = append(walks[i].where, "id {>} @id")
		walks[i].narrow = l.types()
	}
	return l.statement("id{desc}", walks)
}

const orderByTime = "created_at{desc}, id{desc}"

// alongTime returns the statement of a page by time: along everybody's events of
// the range, of which those of the list are taken.
func (l *eventList) alongTime() string {
	w := walk{where: l.times(), narrow: l.types(), order: orderByTime}
	if l.q.TaskID != "" {
		w.narrow = append(w.narrow, "task_id = @task_id")
	}
	if l.q.IncludeBroadcast {
		w.narrow = append(w.narrow, "(user_id = @user_id OR user_id IS NULL)")
	} else if l.q.UserID != "" {
		w.narrow = append(w.narrow, "user_id = @user_id")
	}
	return l.statement(orderByTime, []walk{w})
}

// sorted returns the statement of a page by time where the list is of few events:
// all of them, of which those of the range are taken.
func (l *eventList) sorted() string {
	walks := l.walks()
	for i := range walks {
		walks[i].narrow, walks[i].sorted = append(l.times(), l.types()...), true
	}
	return l.statement(orderByTime, walks)
}

// sqlMany asks whether a walk passes more than so many rows.
const sqlMany = `EXISTS (
    SELECT
    FROM {walk} AS walked
    OFFSET @scan)`

const sqlManyWalk = `
    (SELECT id
    FROM taskfeed.events
    WHERE {where}
    ORDER BY {order}
    LIMIT @scan + 1)`

// many returns the statement that says whether the list is of too many events to
// be sorted.
func (l *eventList) many() string {
	var parts []string
	for _, w := range l.walks() {
		sql := strings.NewReplacer("{where}", strings.Join(w.where, " AND "), "{order}", w.order).Replace(sqlManyWalk)
		if w.eachOwner {
			sql = eventlog.OfEachOwner(sql)
		}
		parts = append(parts, strings.ReplaceAll(sqlMany, "{walk}", sql))
	}
	return directed("SELECT "+strings.Join(parts, " OR "), l.desc)
}

// way returns the statement of a page. By time there are two ways: what belongs to
// one user or task has no index by time. If it is little it is sorted; and if it is
// much, a good part of everybody's events are of it.
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
	p := startOf(l.desc)
	if after == "" {
		if l.desc {
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
	args := pgx.NamedArgs{"at": at, "id": id, "limit": e.items, "bytes": e.bytes, "scan": e.scan}
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

// ListEvents returns one page of the events that q selects, as far as the log
// keeps them. It returns CodeBadRequest when the query cannot be understood, and
// CodeUnavailable, with advice, when it takes too long. A page that would pass too
// many events that Types or Time leave out ends early, even without any, and has
// Next: there is more as long as that is there.
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
