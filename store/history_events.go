package store

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
)

// eventList is a query for events in normal form, checked, and how it is read.
type eventList struct {
	q           taskfeed.EventQuery
	fingerprint uint64
	byTime      bool
	desc        bool
	statement   string
	args        pgx.NamedArgs // but for the place, the limit and the bytes
}

func newEventList(q taskfeed.EventQuery) (*eventList, error) {
	q, err := normalEventQuery(q)
	if err != nil {
		return nil, err
	}
	l := &eventList{q: q, fingerprint: fingerprint(q), desc: q.Sort == taskfeed.SortIDDesc, byTime: q.Time != taskfeed.TimeRange{},
		args: pgx.NamedArgs{"user_id": q.UserID, "task_id": q.TaskID, "types": texts(q.Types), "from": q.Time.From, "to": q.Time.To}}
	how := list{table: "taskfeed.events", raw: tableColumns, columns: eventColumns, size: sqlDataSize,
		order: "id{desc}", desc: l.desc, walks: l.walksByID()}
	if l.byTime {
		how.order, how.walks = "created_at{desc}, id{desc}", l.walksByTime()
	}
	l.statement = how.statement()
	return l, nil
}

// normalEventQuery checks all but After and Limit, which it leaves out.
func normalEventQuery(q taskfeed.EventQuery) (_ taskfeed.EventQuery, err error) {
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
	q.Sort, err = checkSort(q.Sort, taskfeed.SortIDDesc, taskfeed.SortID, taskfeed.SortIDDesc)
	if err != nil {
		return q, err
	}
	q.Time, err = checkRange("created", q.Time)
	q.After, q.Limit = "", 0
	return q, err
}

// narrow returns conditions and those that the query adds to every walk.
func (l *eventList) narrow(conditions ...string) []string {
	if len(l.q.Types) > 0 {
		conditions = append(conditions, "type = ANY (@types::text[])")
	}
	if !l.q.Time.From.IsZero() {
		conditions = append(conditions, "created_at >= @from")
	}
	if !l.q.Time.To.IsZero() {
		conditions = append(conditions, "created_at < @to")
	}
	return conditions
}

// walksByID returns the ways to read by id: along one task, along one user and
// perhaps the broadcasts, or along all.
func (l *eventList) walksByID() []walk {
	const after = "id {>} @id"
	switch {
	case l.q.TaskID != "" && l.q.UserID != "":
		return []walk{{where: l.narrow(sqlOfTask, "user_id = @user_id", after), order: "task_id{desc}, id{desc}"}}
	case l.q.TaskID != "":
		return []walk{{where: l.narrow(sqlOfTask, "user_id = owner", after), order: "task_id{desc}, id{desc}", eachOwner: true},
			{where: l.narrow(sqlOfTask, "user_id IS NULL", after), order: "task_id{desc}, user_id{desc}, id{desc}"}}
	case l.q.UserID == "":
		return []walk{{where: l.narrow(after), order: "id{desc}"}}
	}
	walks := []walk{pinned("user_id", "@user_id", "id", l.narrow(after)...)}
	if l.q.IncludeBroadcast {
		// Ordered by user_id too, all of them null, for the index to have this order.
		walks = append(walks, walk{where: l.narrow(after, "user_id IS NULL"), order: "user_id{desc}, id{desc}"})
	}
	return walks
}

// walksByTime returns the ways to read by time. What else is selected the planner
// finds on the way, or by an index of its own and sorts: it knows which is less.
func (l *eventList) walksByTime() []walk {
	conditions := l.narrow("(created_at, id) {>} (@at, @id)")
	if l.q.TaskID != "" {
		conditions = append(conditions, "task_id = @task_id")
	}
	order := "created_at{desc}, id{desc}"
	if l.q.UserID == "" {
		return []walk{{where: conditions, order: order}}
	}
	walks := []walk{{where: append(slices.Clone(conditions), "user_id = @user_id"), order: order}}
	if l.q.IncludeBroadcast {
		walks = append(walks, walk{where: append(slices.Clone(conditions), "user_id IS NULL"), order: order})
	}
	return walks
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
func (l *eventList) page(ctx context.Context, db over, after string, e extent) (page taskfeed.EventPage, err error) {
	at, id, err := l.start(after)
	if err != nil {
		return page, err
	}
	args := pgx.NamedArgs{"at": at, "id": id, "limit": e.items, "bytes": e.bytes}
	maps.Copy(args, l.args)
	more := false
	collected := func(rows pgx.Rows) (err error) {
		page.Items, more, err = collect(rows, e.bytes, eventBytes, scanListed)
		return err
	}
	if l.byTime {
		err = collected(query(ctx, db, l.statement, args))
	} else {
		batch := &pgx.Batch{}
		batch.Queue(sqlPlainPlan)
		batch.Queue(l.statement, args).Query(collected)
		err = db.SendBatch(ctx, batch).Close()
	}
	if err != nil {
		return taskfeed.EventPage{}, err
	}
	if more {
		last := &page.Items[len(page.Items)-1]
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
// CodeUnavailable, with advice, when it takes too long: Types narrow what is read
// along an index but have none of their own.
func (s *Store) ListEvents(ctx context.Context, q taskfeed.EventQuery) (taskfeed.EventPage, error) {
	if err := checkLimit(q.Limit); err != nil {
		return taskfeed.EventPage{}, err
	}
	return s.events(ctx, "list events", q, q.After, extent{q.Limit, maxListBytes})
}

// ExportEvents yields all events that q selects from q.After on, in order, and
// ignores q.Limit; see [Store.ExportTasks].
func (s *Store) ExportEvents(ctx context.Context, q taskfeed.EventQuery) iter.Seq2[taskfeed.Event, error] {
	return export(q.After, func(after string) ([]taskfeed.Event, string, error) {
		page, err := s.events(ctx, "export events", q, after, extent{exportLimit, maxExportBytes})
		return page.Items, page.Next, err
	})
}

func (s *Store) events(ctx context.Context, doing string, q taskfeed.EventQuery, after string, e extent) (taskfeed.EventPage, error) {
	l, err := newEventList(q)
	if err != nil {
		return taskfeed.EventPage{}, err
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
func (s *Store) TaskEvents(ctx context.Context, taskID, after string, limit int) (taskfeed.Timeline, error) {
	return s.timeline(ctx, taskID, "", after, limit)
}

// UserTaskEvents is TaskEvents as one user may see it: only what that user was
// told counts, so a task that was never the user's is not found, and of one that
// changed hands the others' part is left out.
func (s *Store) UserTaskEvents(ctx context.Context, userID, taskID, after string, limit int) (taskfeed.Timeline, error) {
	if userID == "" { // would select the events of all
		return taskfeed.Timeline{}, errNoTask
	}
	return s.timeline(ctx, taskID, userID, after, limit)
}

func (s *Store) timeline(ctx context.Context, taskID, userID, after string, limit int) (taskfeed.Timeline, error) {
	var t taskfeed.Timeline
	if err := checkLimit(limit); err != nil {
		return t, err
	}
	if taskID == "" { // would select the events of all
		return t, errNoTask
	}
	l, err := newEventList(taskfeed.EventQuery{TaskID: taskID, UserID: userID, Sort: taskfeed.SortID})
	if err != nil {
		return t, err
	}
	bounded, cancel := s.reading(ctx)
	defer cancel()
	if after == "" {
		if t.Summary, err = s.taskSummary(bounded, taskID, userID); err != nil {
			return taskfeed.Timeline{}, s.late(ctx, "sum up a task's events", err)
		}
	} else if t.Previous, _, err = l.start(after); err != nil {
		return t, err
	}
	t.EventPage, err = readPage(bounded, s.rest, l, after, extent{limit, maxListBytes})
	return t, s.late(ctx, "read a task's events", err)
}

func (s *Store) taskSummary(ctx context.Context, taskID, userID string) (*taskfeed.TaskSummary, error) {
	var sum taskfeed.TaskSummary
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
