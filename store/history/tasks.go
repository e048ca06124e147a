package history

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/eventlog"
	"github.com/taskfeed/taskfeed/store/internal/pg"
	"github.com/taskfeed/taskfeed/store/internal/walk"
)

// The index has the hour of updated_at. With updated_at itself, which every progress
// update changes, such updates would not be HOT updates any more. Rows of one hour are
// sorted when they are read.
const (
	hourOfPlace = `taskfeed.hour_of(@at)`
	hourOfFrom  = `taskfeed.hour_of(@updated_from)`
	hourOfTo    = `taskfeed.hour_of(@updated_to)`
)

// afterUpdated are the conditions of what comes after a place in a list by updated.
// The planner takes conditions to be independent and would multiply the selectivities
// of the hour and of the time; inside NOT it does not.
func afterUpdated(d walk.Direction) []string {
	return []string{"updated_hour " + d.LaterOrAt + " " + hourOfPlace,
		"NOT (updated_hour = " + hourOfPlace + " AND (updated_at, id) " + d.EarlierOrAt + " (@at, @key))"}
}

// The planner estimates that this is true of many rows, and so walks the index until it
// has found enough. It would estimate that LIKE is true of few, and read the whole
// table.
const containsText = `(strpos(lower(id), lower(@text)) > 0 OR strpos(lower(message), lower(@text)) > 0 OR strpos(lower(error), lower(@text)) > 0)`

// taskList is a checked query for tasks in normal form, and how it is read.
type taskList struct {
	q           TaskQuery
	fingerprint uint64
	byUpdated   bool
	direction   walk.Direction
	statement   string
	args        pgx.NamedArgs // but for the place, the limit and the bytes
}

func newTaskList(q TaskQuery) (*taskList, error) {
	q, err := normalTaskQuery(q)
	if err != nil {
		return nil, err
	}
	l := &taskList{q: q, fingerprint: fingerprint(q), args: pgx.NamedArgs{"user_id": q.UserID, "users": eventlog.Users(q.UserID, q.Feeds), "kind": q.Kind, "source": q.Source, "text": q.Text,
		"created_from": q.Created.From, "created_to": q.Created.To, "updated_from": q.Updated.From, "updated_to": q.Updated.To}}
	l.byUpdated = q.Sort == SortUpdated || q.Sort == SortUpdatedDesc
	l.direction = walk.Ascending
	if q.Sort == SortCreatedDesc || q.Sort == SortUpdatedDesc {
		l.direction = walk.Descending
	}
	page := walk.Page{Table: "taskfeed.tasks", Columns: taskRaw, Scanned: taskColumns, Size: taskSize, By: l.by(), Direction: l.direction}
	var walks []string
	for _, w := range l.walks() {
		walks = append(walks, page.Plain(w.After(l.conditions()...)))
	}
	l.statement = page.Of(walks...)
	return l, nil
}

// by is the order of the list.
func (l *taskList) by() []string {
	if l.byUpdated {
		return []string{"updated_hour", "updated_at", "id"}
	}
	return []string{"created_at", "id"}
}

// normalTaskQuery checks all but After and Limit, which it leaves out.
func normalTaskQuery(q TaskQuery) (_ TaskQuery, err error) {
	for field, text := range map[string]string{"user_id": q.UserID, "kind": q.Kind, "source": q.Source, "q": q.Text} {
		if err := pg.CheckText(field, text); err != nil {
			return q, err
		}
	}
	if q.Feeds, err = normalFeeds(q.Feeds); err != nil {
		return q, err
	}
	for _, s := range q.Statuses {
		if !slices.Contains(taskfeed.Statuses, s) {
			return q, pg.Refuse("status", fmt.Sprintf("must be one of %q", taskfeed.Statuses))
		}
	}
	q.Statuses = slices.Compact(slices.Sorted(slices.Values(q.Statuses)))
	if len(q.Statuses) == len(taskfeed.Statuses) {
		q.Statuses = nil
	}
	q.Sort, err = checkSort(q.Sort, SortCreatedDesc,
		SortCreated, SortCreatedDesc, SortUpdated, SortUpdatedDesc)
	if err != nil {
		return q, err
	}
	if q.Created, err = checkRange("created", q.Created); err != nil {
		return q, err
	}
	q.Updated, err = checkRange("updated", q.Updated)
	q.After, q.Limit = "", 0
	return q, err
}

// walks returns the indexes to read: that of the tasks of each user, that of each status
// which is asked for, or that of all tasks. There is none of a user's tasks by updated.
func (l *taskList) walks() []walk.Walk {
	switch {
	case len(l.q.Feeds) > 0 && !l.byUpdated:
		return []walk.Walk{{Where: []string{walk.Pinned("user_id", "owner")}, By: append([]string{"user_id"}, l.by()...), Repeat: walk.ForEachUser}}
	case l.q.UserID != "" && !l.byUpdated:
		return []walk.Walk{{Where: []string{walk.Pinned("user_id", "@user_id")}, By: append([]string{"user_id"}, l.by()...)}}
	case l.q.UserID == "" && len(l.q.Statuses) > 0:
		walks := make([]walk.Walk, len(l.q.Statuses))
		for i, s := range l.q.Statuses {
			argument := fmt.Sprintf("status_%d", i)
			l.args[argument] = string(s)
			walks[i] = walk.Walk{Where: []string{walk.Pinned("status", "@"+argument)}, By: append([]string{"status"}, l.by()...)}
		}
		return walks
	}
	return []walk.Walk{{By: l.by()}}
}

// conditions returns those that every walk has in common.
func (l *taskList) conditions() (all []string) {
	add := func(given bool, conditions ...string) {
		if given {
			all = append(all, conditions...)
		}
	}
	add(l.q.Kind != "", "kind = @kind")
	add(l.q.Source != "", "source = @source")
	add(l.q.Text != "", containsText)
	add(!l.q.Created.From.IsZero(), "created_at >= @created_from")
	add(!l.q.Created.To.IsZero(), "created_at < @created_to")
	add(!l.q.Updated.From.IsZero(), "updated_at >= @updated_from", "updated_hour >= "+hourOfFrom)
	add(!l.q.Updated.To.IsZero(), "updated_at < @updated_to", "updated_hour <= "+hourOfTo)
	if l.q.UserID != "" {
		l.args["statuses"] = texts(l.q.Statuses)
		add(len(l.q.Statuses) > 0, "status = ANY (@statuses::text[])")
		add(l.byUpdated, ofUsers(l.q.Feeds))
	}
	if l.byUpdated {
		return append(all, afterUpdated(l.direction)...)
	}
	return append(all, "(created_at, id) "+l.direction.Later+" (@at, @key)")
}

// texts makes arguments plain strings: without prepared statements pgx knows no others.
func texts[S ~string](named []S) []string {
	plain := make([]string, len(named))
	for i, s := range named {
		plain[i] = string(s)
	}
	return plain
}

// start reads where the page after a token begins.
func (l *taskList) start(after string) (place, error) {
	if after == "" {
		return startOf(l.direction), nil
	}
	return parseToken(after, l.fingerprint)
}

func (l *taskList) begins(after string) error {
	_, err := l.start(after)
	return err
}

// page reads the page that begins after a token.
func (l *taskList) page(ctx context.Context, db pg.Querier, after string, e extent) (page TaskPage, err error) {
	p, err := l.start(after)
	if err != nil {
		return page, err
	}
	args := pgx.NamedArgs{"at": p.at, "key": p.key, "limit": e.items, "bytes": e.bytes}
	maps.Copy(args, l.args)
	items, last, err := eventlog.Collect(pg.Query(ctx, db, l.statement, args), e.bytes, taskBytes, scanTask)
	if err != nil {
		return page, err
	}
	page.Items = items
	if last != nil {
		page.Next = l.place(last).token(l.fingerprint)
	}
	return page, nil
}

func (l *taskList) place(t *taskfeed.Task) place {
	if l.byUpdated {
		return place{at: t.UpdatedAt, key: t.ID}
	}
	return place{at: t.CreatedAt, key: t.ID}
}

// ListTasks returns one page of the tasks that q selects. It returns CodeBadRequest for
// an invalid query, and CodeUnavailable, with advice, when the query takes too long:
// Kind, Source and Text filter what is read along an index but have no index of their own.
//
// The first page has a cursor (see [TaskPage]): the id of the last event that is
// visible in the snapshot in which the tasks are read. Why that is exact:
//
//   - A change that the snapshot does not show has an event after the cursor. A
//     move sees only changes that are committed; had its events been visible to
//     the snapshot, the change would have been too. Moves follow one another and
//     ids ascend, so each event of a later move has a greater id than any that
//     the snapshot shows.
//   - An event at or before the cursor is of a change that the snapshot shows.
//     Its move came no later than the one whose event is the cursor, so it is
//     visible, and what it moved was committed before.
//   - An event after the cursor may be of a change that the snapshot shows, but
//     that was not in the log yet. Its version is no greater than the task's, so
//     it is dropped. An event of an earlier page's time is dropped by a later
//     page in the same way.
//   - An id that is used again begins with version 1 again. The deletion in
//     between has a greater version than all that came before it, and what comes
//     after it begins with the whole state. So a client that shows the former
//     task, or has applied events of the former task to the present one, forgets
//     it at the deletion and builds the present one anew; a client whose task has
//     a version that the former one never reached drops all of that. Either way
//     it arrives at the present one. Only until then may it show a former state.
func (r *Reader) ListTasks(ctx context.Context, q TaskQuery) (TaskPage, error) {
	l, err := newTaskList(q)
	if err != nil {
		return TaskPage{}, err
	}
	if err := checkLimit(q.Limit); err != nil {
		return TaskPage{}, err
	}
	bounded, cancel := r.pool.Bound(ctx)
	defer cancel()
	if q.After != "" {
		page, err := readPage(bounded, r, l, q.After, r.pageOf(q.Limit))
		return page, pg.Late(ctx, "list tasks", err)
	}
	var page TaskPage
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = r.pool.Do(bounded, func(db pg.Conn) error {
		return pgx.BeginTxFunc(bounded, db, snapshot, func(tx pgx.Tx) (err error) {
			if page, err = l.page(bounded, tx, "", r.pageOf(q.Limit)); err != nil {
				return err
			}
			page.Cursor, err = eventlog.LastID(bounded, tx)
			return err
		})
	})
	return page, pg.Late(ctx, "list tasks", err)
}

// ExportTasks yields all tasks that q selects from q.After on, in order, and ignores
// q.Limit. It reads page by page and holds no connection between pages, so the consumer
// may be slow and memory stays bounded. Rows that are written meanwhile may show or
// not, as from page to page of a list. It ends with the first error, one of ListTasks,
// whose message says where to resume.
func (r *Reader) ExportTasks(ctx context.Context, q TaskQuery) iter.Seq2[taskfeed.Task, error] {
	return export(q.After, func(after string) ([]taskfeed.Task, string, error) {
		l, err := newTaskList(q)
		if err != nil {
			return nil, "", err
		}
		bounded, cancel := r.pool.Bound(ctx)
		defer cancel()
		page, err := readPage(bounded, r, l, after, r.pageOfExport())
		return page.Items, page.Next, pg.Late(ctx, "export tasks", err)
	})
}
