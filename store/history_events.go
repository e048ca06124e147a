package store

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
	"github.com/taskfeed/taskfeed/store/history"
)

// eventList is a query for events in normal form, checked, and how it is read.
type eventList struct {
	q           history.EventQuery
	fingerprint uint64
	byTime      bool
	desc        bool
	args        pgx.NamedArgs // but for the place, the limit, the bytes and the scan
}

func newEventList(q history.EventQuery) (*eventList, error) {
	q, err := normalEventQuery(q)
	if err != nil {
		return nil, err
	}
	return &eventList{q: q, fingerprint: fingerprint(q), desc: q.Sort == history.SortIDDesc, byTime: q.Time != history.TimeRange{},
		args: pgx.NamedArgs{"user_id": q.UserID, "task_id": q.TaskID, "types": texts(q.Types), "from": q.Time.From, "to": q.Time.To}}, nil
}

// listedEvent is eventColumns without the data of a row that only ends a walk.
var listedEvent = strings.Replace(eventColumns, " data,", " CASE WHEN fits THEN data END AS data,", 1)

// statement returns the SQL of a page in one order along some walks.
func (l *eventList) statement(order string, walks []walk) string {
	return list{table: "taskfeed.events", raw: tableColumns, columns: listedEvent, size: sqlDataSize, order: order, desc: l.desc, walks: walks}.statement()
}

// normalEventQuery checks all but After and Limit, which it leaves out.
func normalEventQuery(q history.EventQuery) (_ history.EventQuery, err error) {
	if err := checkText("user_id", q.UserID); err != nil {
		return q, err
	}
	if err := checkText("task_id", q.TaskID); err != nil {
		return q, err
	}
	if len(q.Types) > maxTypes {
		return q, refuse("type", fmt.Sprintf("may be given %d times at most", maxTypes))
	}
	for _, t := range q.Types {
		if err := checkText("type", string(t)); err != nil {
			return q, err
		}
	}
	q.Types = slices.Compact(slices.Sorted(slices.Values(q.Types)))
	// A broadcast belongs to no task, and without a user all are selected anyway.
	q.IncludeBroadcast = q.IncludeBroadcast && q.UserID != "" && q.TaskID == ""
	q.Sort, err = checkSort(q.Sort, history.SortIDDesc, history.SortID, history.SortIDDesc)
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
		return []walk{{where: []string{sqlOfTask, "user_id = @user_id"}, order: "task_id{desc}, id{desc}"}}
	case l.q.TaskID != "":
		return []walk{{where: []string{sqlOfTask, "user_id = owner"}, order: "task_id{desc}, id{desc}", eachOwner: true},
			{where: []string{sqlOfTask, "user_id IS NULL"}, order: "task_id{desc}, user_id{desc}, id{desc}"}}
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
			sql = ofEachOwner(sql)
		}
		parts = append(parts, strings.ReplaceAll(sqlMany, "{walk}", sql))
	}
	return directed("SELECT "+strings.Join(parts, " OR "), l.desc)
}

// way returns the statement of a page. By time there are two ways: what belongs to
// one user or task has no index by time. If it is little it is sorted; and if it is
// much, a good part of everybody's events are of it.
func (l *eventList) way(ctx context.Context, db over, args pgx.NamedArgs) (statement string, err error) {
	if !l.byTime {
		return l.byID(), nil
	}
	many := true
	if l.q.UserID != "" || l.q.TaskID != "" {
		batch := &pgx.Batch{}
		batch.Queue(sqlPlainPlan)
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
func (l *eventList) page(ctx context.Context, db over, after string, e extent) (page history.EventPage, err error) {
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
	batch.Queue(sqlPlainPlan)
	batch.Queue(statement, args).Query(func(rows pgx.Rows) (err error) {
		page.Items, last, err = collect(rows, e.bytes, eventBytes, scanListed)
		return err
	})
	if err := db.SendBatch(ctx, batch).Close(); err != nil {
		return history.EventPage{}, err
	}
	if last != nil {
		page.Next = place{at: last.Timestamp, key: strconv.FormatInt(int64(last.ID), 10)}.token(l.fingerprint)
	}
	return page, nil
}

// eventBytes is how long what varies of an event is.
func eventBytes(e *taskfeed.Event) int { return len(e.Data) }

// scanListed scans an event of a list.
func scanListed(row pgx.CollectableRow, more ...any) (taskfeed.Event, error) {
	var e taskfeed.Event
	err := row.Scan(append(scanTargets(&e), more...)...)
	e.Timestamp = e.Timestamp.UTC()
	return e, err
}

// ListEvents returns one page of the events that q selects, as far as the log
// keeps them. It returns CodeBadRequest when the query cannot be understood, and
// CodeUnavailable, with advice, when it takes too long. A page that would pass too
// many events that Types or Time leave out ends early, even without any, and has
// Next: there is more as long as that is there.
func (s *Store) ListEvents(ctx context.Context, q history.EventQuery) (history.EventPage, error) {
	if err := checkLimit(q.Limit); err != nil {
		return history.EventPage{}, err
	}
	return s.events(ctx, "list events", q, q.After, s.pageOf(q.Limit))
}

// ExportEvents yields all events that q selects from q.After on, in order, and
// ignores q.Limit; see [Store.ExportTasks].
func (s *Store) ExportEvents(ctx context.Context, q history.EventQuery) iter.Seq2[taskfeed.Event, error] {
	return export(q.After, func(after string) ([]taskfeed.Event, string, error) {
		page, err := s.events(ctx, "export events", q, after, s.pageOfExport())
		return page.Items, page.Next, err
	})
}

func (s *Store) events(ctx context.Context, doing string, q history.EventQuery, after string, e extent) (history.EventPage, error) {
	l, err := newEventList(q)
	if err != nil {
		return history.EventPage{}, err
	}
	bounded, cancel := s.reading(ctx)
	defer cancel()
	page, err := readPage(bounded, s.rest, l, after, e)
	return page, s.late(ctx, doing, err)
}

// A task that changes hands makes two events of one version, a deletion for the
// former owner and its status for the new one: the deletion is not the task's
// end. What is still queued or running is so until now, unless the row went
// without an event (TRUNCATE).
const sqlTaskSummary = `
WITH told AS (
    SELECT id, type, created_at,
        type = 'task_deleted' AND lead(version) OVER (ORDER BY id) IS NOT DISTINCT FROM version AS handed_over
    FROM taskfeed.events
    WHERE task_id = @task_id
      AND (@user_id = '' OR user_id = @user_id)
), steps AS (
    SELECT type, created_at,
        lag(type) OVER (ORDER BY id) AS before,
        lead(created_at) OVER (ORDER BY id) AS until
    FROM told
    WHERE type <> 'task_progress'
      AND NOT handed_over
), present AS (
    SELECT EXISTS (SELECT FROM taskfeed.tasks WHERE id = @task_id AND (@user_id = '' OR user_id = @user_id)) AS there
), spent AS (
    SELECT type, before,
        greatest(extract(epoch FROM coalesce(until, CASE WHEN there THEN clock_timestamp() ELSE created_at END) - created_at), 0) AS seconds
    FROM steps
    CROSS JOIN present
)
SELECT (SELECT there FROM present),
    (SELECT count(*) FROM told),
    (SELECT count(*) FROM told WHERE type = 'task_progress'),
    (SELECT min(created_at) FROM told),
    (SELECT max(created_at) FROM told),
    count(*) FILTER (WHERE type = 'task_started' AND before IS DISTINCT FROM type),
    coalesce(sum(seconds * 1000000) FILTER (WHERE type = 'task_queued'), 0)::bigint,
    coalesce(sum(seconds * 1000000) FILTER (WHERE type = 'task_started'), 0)::bigint
FROM spent`

// TaskEvents returns one page of the events of a task, oldest first, and with the
// first page their summary. A deleted task keeps its events as long as the log
// does. It returns CodeNotFound when there is neither a task of this id nor an
// event of one. It does not ask whose task it is or was.
func (s *Store) TaskEvents(ctx context.Context, taskID, after string, limit int) (history.Timeline, error) {
	return s.timeline(ctx, taskID, "", after, limit)
}

// UserTaskEvents is TaskEvents as one user may see it: only what that user was
// told counts, so a task that was never the user's is not found, and of one that
// changed hands the others' part is left out.
func (s *Store) UserTaskEvents(ctx context.Context, userID, taskID, after string, limit int) (history.Timeline, error) {
	if userID == "" { // would select the events of all
		return history.Timeline{}, errNoTask
	}
	return s.timeline(ctx, taskID, userID, after, limit)
}

func (s *Store) timeline(ctx context.Context, taskID, userID, after string, limit int) (history.Timeline, error) {
	var t history.Timeline
	if err := checkLimit(limit); err != nil {
		return t, err
	}
	if taskID == "" { // would select the events of all
		return t, errNoTask
	}
	l, err := newEventList(history.EventQuery{TaskID: taskID, UserID: userID, Sort: history.SortID})
	if err != nil {
		return t, err
	}
	bounded, cancel := s.reading(ctx)
	defer cancel()
	if after == "" {
		if t.Summary, err = s.taskSummary(bounded, taskID, userID); err != nil {
			return history.Timeline{}, s.late(ctx, "sum up a task's events", err)
		}
	} else if t.Previous, _, err = l.start(after); err != nil {
		return t, err
	}
	t.EventPage, err = readPage(bounded, s.rest, l, after, s.pageOf(limit))
	return t, s.late(ctx, "read a task's events", err)
}

func (s *Store) taskSummary(ctx context.Context, taskID, userID string) (*history.TaskSummary, error) {
	var sum history.TaskSummary
	var there bool
	var first, last *time.Time
	var queued, running int64 // microseconds
	targets := []any{&there, &sum.Events, &sum.ProgressSteps, &first, &last, &sum.Attempts, &queued, &running}
	err := s.rest.do(ctx, func(db asked) error {
		rows := query(ctx, db, sqlTaskSummary, pgx.NamedArgs{"task_id": taskID, "user_id": userID})
		_, err := pgx.ForEachRow(rows, targets, func() error { return nil })
		return err
	})
	if err != nil {
		return nil, err
	}
	if !there && sum.Events == 0 {
		return nil, errNoTask
	}
	if first != nil && last != nil {
		sum.First, sum.Last = first.UTC(), last.UTC()
	}
	sum.Queued, sum.Running = time.Duration(queued)*time.Microsecond, time.Duration(running)*time.Microsecond
	return &sum, nil
}

var errNoTask = &taskfeed.Error{Code: taskfeed.CodeNotFound, Message: "there is no task of this id, and no event of one is kept"}
