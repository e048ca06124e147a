package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// A page that holds facts is moved in a transaction of several statements: take the
// changes, read the tasks that the facts are about, fold, write tasks and events.
// The sequencer alone writes those tasks, so they do not change in between.

// change is one row of changes, an event as it stands or a fact.
type change struct {
	id      int64
	xid     string
	source  string // empty: no fact
	user    *string
	task    string
	kind    string // of fact or event
	version *int64
	at      time.Time
	data    []byte
	hash    int64 // of the result in data

	// What was found in other tables.
	users   json.RawMessage
	named   *string // kind
	unfound string  // why nothing was
	again   bool    // and it may be found later
}

const (
	takenColumns = changeColumns + `, xid, source`
	sqlTaken     = `
SELECT id, xid::text, coalesce(source, ''), user_id, coalesce(task_id, ''), type, version, created_at, data,
    coalesce(hashtextextended(nullif(data->'result', 'null')::text, 0), 0)`

	sqlTakeLook = `
WITH page AS MATERIALIZED (` + sqlPageOfChanges + `
), moved AS (
    DELETE FROM taskfeed.changes
    WHERE ctid = ANY (ARRAY(SELECT place FROM page WHERE earlier < @bytes))
    RETURNING ` + takenColumns + `
)` + sqlTaken + `, (SELECT count(*) FROM page), (SELECT ` + sqlSnapshot + `)
FROM moved
ORDER BY id`

	sqlTakePlaces = `
WITH moved AS (
    DELETE FROM taskfeed.changes
    WHERE ctid = ANY (@places)
    RETURNING ` + takenColumns + `
)` + sqlTaken + `, 0, ''
FROM moved
ORDER BY id`
)

// page is what was taken at once.
type page struct {
	changes    []change
	candidates int    // changes that could be taken, up to a limit; 0 is unknown
	snapshot   string // that they were taken in
}

func takePage(ctx context.Context, tx pgx.Tx, statement string, args pgx.NamedArgs) (p page, err error) {
	var c change
	rows, _ := tx.Query(ctx, statement, args) // rows tell of errors too
	_, err = pgx.ForEachRow(rows, []any{&c.id, &c.xid, &c.source, &c.user, &c.task, &c.kind, &c.version, &c.at, &c.data, &c.hash,
		&p.candidates, &p.snapshot}, func() error {
		p.changes = append(p.changes, c)
		c.user, c.version, c.data = nil, nil, nil // pgx scans into new memory
		return nil
	})
	return p, err
}

// fact decodes a change that holds a fact.
func (c change) fact() (x fact, err error) {
	x = fact{source: c.source, kind: c.kind, task: c.task, at: c.at, hash: c.hash}
	err = json.Unmarshal(c.data, &x.data)
	if c.users != nil {
		x.data.Users = c.users
	}
	if c.named != nil {
		x.data.Kind = c.named
	}
	return x, err
}

// foldLook moves a page of an ordinary look that holds facts.
func (s *Session) foldLook(ctx context.Context) (m taskfeed.Moved, err error) {
	args := pgx.NamedArgs{"seen": s.seen, "limit": s.pages.look, "bytes": s.pages.lookBytes}
	var p page
	err = s.folding(ctx, func(f *foldTx) error {
		if p, err = takePage(ctx, f.tx, sqlTakeLook, args); err != nil {
			return err
		}
		m, err = f.move(ctx, p, len(p.changes) < p.candidates || p.candidates == s.pages.look)
		return err
	})
	switch {
	case refusedData(err) && s.Alive():
		s.log.Warn("a page of facts could not be folded at once", "error", err)
		return taskfeed.Moved{More: true}, nil // one at a time, as a backlog
	case err != nil:
		return taskfeed.Moved{}, pg.Wrap("fold changes", err)
	}
	m.More = p.candidates == s.pages.look || p.candidates > len(p.changes)
	if p.snapshot != "" {
		s.looked(p.snapshot, len(p.changes), m.More)
	}
	return m, nil
}

// foldPlaces moves exactly the changes of a page of a backlog that holds facts, or
// nothing. A change that the table of tasks refuses, by a rule that the app added, is
// left out, and its users are told that something is missing.
func (s *Session) foldPlaces(ctx context.Context, p backlogPage) (m taskfeed.Moved, err error) {
	m, err = s.foldExactly(ctx, p, nil)
	if !refusedData(err) || !s.Alive() {
		return m, pg.Wrap("fold a backlog", err)
	}
	if len(p.ids) == 1 {
		m, err = s.foldExactly(ctx, p, err)
		return m, pg.Wrap("leave a fact out", err)
	}
	var all taskfeed.Moved
	for len(p.ids) > 0 {
		one, err := s.foldPlaces(ctx, p.cut(1, 0))
		if err != nil {
			return all, err
		}
		all.Count += one.Count
		all.Last = max(all.Last, one.Last)
	}
	return all, nil
}

func (s *Session) foldExactly(ctx context.Context, p backlogPage, refused error) (m taskfeed.Moved, err error) {
	err = s.folding(ctx, func(f *foldTx) error {
		f.refused, f.backlog = refused, true
		taken, err := takePage(ctx, f.tx, sqlTakePlaces, pgx.NamedArgs{"places": p.places})
		if err != nil {
			return err
		}
		if !slices.EqualFunc(taken.changes, p.ids, func(c change, id int64) bool { return c.id == id }) {
			return errors.New("changes are not where they were: the table was rewritten meanwhile")
		}
		m, err = f.move(ctx, taken, true)
		return err
	})
	return m, err
}

// refusedData reports whether Postgres refused a statement for what it wrote.
func refusedData(err error) bool {
	_, ok := errors.AsType[*pgconn.PgError](err)
	return ok && taskfeed.CodeOf(pg.Wrap("fold", err)) != taskfeed.CodeUnavailable
}

// sqlFolding opens the tasks of attached tables to this transaction.
const sqlFolding = `SELECT set_config('taskfeed.folding', 'on', true)`

// foldTx is a transaction that folds.
type foldTx struct {
	s       *Session
	tx      pgx.Tx
	refused error // why the facts of the page are left out; nil: they are folded
	backlog bool  // the events are not returned: they are read from the log
}

// folding runs work in a transaction that may write the tasks of sources.
func (s *Session) folding(ctx context.Context, work func(*foldTx) error) error {
	return s.patiently(ctx, s.timeout, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
			return work(&foldTx{s: s, tx: tx})
		})
	})
}

// move folds a page and writes the tasks and events. The truncation of a table changes
// all of its tasks, so the changes before it are written first.
func (f *foldTx) move(ctx context.Context, p page, more bool) (m taskfeed.Moved, err error) {
	superseded, err := f.superseded(ctx, p.changes, more)
	if err != nil {
		return m, err
	}
	rest, partial := p.changes, false
	for len(rest) > 0 {
		n := slices.IndexFunc(rest, func(c change) bool { return c.source != "" && c.kind == factTruncate })
		if n < 0 {
			n = len(rest)
		}
		part, err := f.segment(ctx, rest[:n], superseded)
		if err != nil {
			return m, err
		}
		m.Events, m.Count, m.Last = append(m.Events, part.Events...), m.Count+part.Count, max(m.Last, part.Last)
		if n == len(rest) {
			break
		}
		count, last, err := f.truncate(ctx, rest[n])
		if err != nil {
			return m, err
		}
		m.Count, m.Last = m.Count+count, max(m.Last, last)
		rest, partial = rest[n+1:], partial || count > 0
	}
	if partial { // the events are in the log
		m.Events = nil
	}
	return m, nil
}

// segment folds changes none of which is a truncation.
func (f *foldTx) segment(ctx context.Context, changes []change, superseded map[int64]bool) (taskfeed.Moved, error) {
	if len(changes) == 0 {
		return taskfeed.Moved{}, nil
	}
	if err := f.join(ctx, changes); err != nil {
		return taskfeed.Moved{}, err
	}
	tasks, err := f.readTasks(ctx, changes)
	if err != nil {
		return taskfeed.Moved{}, err
	}
	again, err := f.readBroken(ctx, changes)
	if err != nil {
		return taskfeed.Moved{}, err
	}
	out := new(writing)
	folder := newFolder(tasks)
	for _, c := range changes {
		switch {
		case c.source == "":
			out.change(c)
		case superseded[c.id]:
		default:
			f.foldChange(folder, c, again)
			out.told(folder.take())
		}
	}
	return f.write(ctx, out, folder)
}

// foldChange folds one fact.
func (f *foldTx) foldChange(folder *folder, c change, again map[int64]rereading) {
	counts := folder.count(c.source)
	x, err := c.fact()
	switch read := again[c.id]; {
	case f.refused != nil:
		counts.fail(f.refused.Error())
		counts.reset = true
	case err != nil:
		counts.fail(fmt.Sprintf("a fact cannot be read: %v", err))
		counts.reset = true
	case c.kind == factAttached:
		f.s.sources.loaded = false
	case c.unfound != "":
		counts.fail(c.unfound)
		counts.reset, counts.again = true, counts.again || c.again
	case c.kind == factBroken || c.kind == factStale:
		if c.kind == factBroken {
			counts.fail(x.data.State + " " + orNull(x.data.Message))
		}
		if read.lost {
			counts.reset, counts.again = true, counts.again || read.again
		} else if read.row != nil {
			folder.fold(*read.row)
		}
	default:
		folder.fold(x)
	}
}

// take returns the events since the last call.
func (f *folder) take() []told {
	events := f.events
	f.events = nil
	return events
}

const sqlFoldedTasks = `
SELECT id, coalesce(source, '(own)'), coalesce(owners, ARRAY[user_id]), status, progress, kind, message, error,
    CASE WHEN id = ANY (@whole) THEN result::text END, coalesce(hashtextextended(result::text, 0), 0), version, created_at
FROM taskfeed.tasks
WHERE id = ANY (@ids)
  AND coalesce(source, '') NOT LIKE '-%'`

// readTasks reads the tasks that facts are about. It reads a result only where a row
// is gone: if the task stays, its next event has the result.
func (f *foldTx) readTasks(ctx context.Context, changes []change) (map[string]folded, error) {
	tasks := map[string]folded{}
	ids, whole := []string{}, []string{}
	for _, c := range changes {
		if c.source == "" || c.task == "" {
			continue
		}
		ids = append(ids, c.task)
		if c.kind == factGone {
			whole = append(whole, c.task)
		}
	}
	if len(ids) == 0 {
		return tasks, nil
	}
	var id string
	var t folded
	rows, _ := f.tx.Query(ctx, sqlFoldedTasks, pgx.NamedArgs{"ids": ids, "whole": whole}) // rows tell of errors too
	_, err := pgx.ForEachRow(rows, []any{&id, &t.source, &t.owners, &t.status, &t.progress, &t.kind, &t.message, &t.errorText,
		&t.result, &t.hash, &t.version, &t.createdAt}, func() error {
		tasks[id] = t
		t = folded{}
		return nil
	})
	return tasks, err
}

// superseded returns the ids of facts that a row is gone which the same transaction
// wrote again later. A row that is deleted and inserted, or that moves to another
// partition, counts as one that changes.
func (f *foldTx) superseded(ctx context.Context, changes []change, more bool) (map[int64]bool, error) {
	type row struct{ xid, task string }
	written, found := map[row]bool{}, map[int64]bool{}
	open := map[row][]int64{}
	for _, c := range slices.Backward(changes) {
		at := row{c.xid, c.task}
		switch {
		case c.source == "":
		case c.kind == factRow || c.kind == factBroken:
			written[at] = true
		case (c.kind == factGone || c.kind == factLeft) && written[at]:
			found[c.id] = true
		case c.kind == factGone || c.kind == factLeft:
			open[at] = append(open[at], c.id)
		}
	}
	if len(open) == 0 || !more {
		return found, nil
	}
	xids, tasks := []string{}, []string{}
	for at := range open {
		xids, tasks = append(xids, at.xid), append(tasks, at.task)
	}
	rows, _ := f.tx.Query(ctx, sqlWrittenLater, pgx.NamedArgs{"xids": xids, "tasks": tasks, "last": changes[len(changes)-1].id}) // rows tell of errors too
	var at row
	_, err := pgx.ForEachRow(rows, []any{&at.xid, &at.task}, func() error {
		for _, id := range open[at] {
			found[id] = true
		}
		return nil
	})
	return found, err
}

// Most transactions that delete many rows insert none of them again, so each page
// reads their changes to the end, once.
const sqlWrittenLater = `
WITH gone AS (
    SELECT DISTINCT g.xid::xid8 AS xid, g.task
    FROM unnest(@xids::text[], @tasks::text[]) AS g (xid, task)
)
SELECT DISTINCT c.xid::text, c.task_id
FROM taskfeed.changes AS c
JOIN gone AS g ON g.xid = c.xid AND g.task = c.task_id
WHERE c.xid = ANY (ARRAY(SELECT g.xid FROM gone AS g))
  AND c.id > @last
  AND c.type IN ('` + factRow + `', '` + factBroken + `')
  AND c.source IS NOT NULL`
