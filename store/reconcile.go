package store

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// Reconciliation is what the comparison of an attached table with its tasks found.
type Reconciliation struct {
	Rows     int      // that were compared
	Missing  int      // rows that are no tasks and should be
	Differs  int      // tasks that are not what their rows say
	Failed   int      // rows whose mapping fails
	Gone     []string // open tasks whose rows are gone, the first 1,000
	Examples []string // ids of the others, the first few
}

// Differences is how much is wrong.
func (r Reconciliation) Differences() int { return r.Missing + r.Differs + len(r.Gone) }

const maxExamples = 5

const sqlReconcileRows = `
SELECT coalesce(r.task_id, ''), coalesce(r.data, 'null')::text, coalesce(r.failure, ''), r.place,
    coalesce(hashtextextended(nullif(r.data->'result', 'null')::text, 0), 0), r.data IS NULL OR r.task_id IS NULL, clock_timestamp()
FROM taskfeed.{function}(@ids::text[], @after::text[], @limit::integer) AS r`

const sqlReconcileSource = `
SELECT s.resolved->>'backfill' = 'open', (s.resolved->>'since')::timestamptz, taskfeed.source_query(s.resolved, 'ids') IS NOT NULL
FROM taskfeed.sources AS s
WHERE s.name = @source`

const sqlInFlight = `
SELECT DISTINCT task_id
FROM taskfeed.changes
WHERE source = @source
  AND task_id = ANY (@ids)`

const sqlOpenTasks = `
SELECT id
FROM taskfeed.tasks
WHERE source = @source
  AND status IN ('queued', 'running')
  AND id > @after
ORDER BY id
LIMIT @limit`

// reconciler compares one source. Each page is read in one snapshot: in it, a task is
// what its row says unless a fact of the row waits for the sequencer.
type reconciler struct {
	source       string
	only         fillRule
	byID         bool // rows can be read by the ids of tasks
	found        Reconciliation
	place        []string
	after        string
	rowsExamined bool
}

// Reconcile compares an attached table with its tasks, page by page, and changes
// nothing. It returns CodeNotFound when there is no such source.
func (s *Store) Reconcile(ctx context.Context, source string) (Reconciliation, error) {
	r := &reconciler{source: source}
	for more := true; more; {
		var err error
		if more, err = s.reconcilePage(ctx, r); err != nil {
			return r.found, pg.Wrap("compare "+source+" with its tasks", err)
		}
	}
	return r.found, nil
}

func (s *Store) reconcilePage(ctx context.Context, r *reconciler) (more bool, err error) {
	ctx, cancel := s.checks.Bound(ctx)
	defer cancel()
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = s.checks.Do(ctx, func(db pg.Conn) error {
		return pgx.BeginTxFunc(ctx, db, snapshot, func(tx pgx.Tx) error {
			switch err := tx.QueryRow(ctx, sqlReconcileSource, pgx.NamedArgs{"source": r.source}).Scan(&r.only.open, &r.only.since, &r.byID); {
			case err == pgx.ErrNoRows:
				return &taskfeed.Error{Code: taskfeed.CodeNotFound, Message: "there is no attached table " + r.source}
			case err != nil:
				return err
			}
			if !r.rowsExamined {
				more = true
				return r.compareRows(ctx, tx)
			}
			more, err = r.findGone(ctx, tx)
			return err
		})
	})
	return more, err
}

// compareRows compares the next page of rows with their tasks.
func (r *reconciler) compareRows(ctx context.Context, tx pgx.Tx) error {
	read, err := r.read(ctx, tx, pgx.NamedArgs{"ids": nil, "after": r.place, "limit": fillPage})
	if err != nil {
		return err
	}
	changes := make([]change, len(read))
	ids := make([]string, len(read))
	for i, row := range read {
		changes[i], ids[i] = row.change, row.change.task
	}
	tasks, err := (&foldTx{tx: tx}).readTasks(ctx, changes)
	if err != nil {
		return err
	}
	waiting, err := r.inFlight(ctx, tx, ids)
	if err != nil {
		return err
	}
	for _, row := range read {
		if !waiting[row.change.task] {
			r.compare(row, tasks[row.change.task])
		}
	}
	r.found.Rows += len(read)
	if r.rowsExamined = len(read) < fillPage; !r.rowsExamined {
		r.place = read[len(read)-1].place
	}
	return nil
}

// compare notes whether a task is what its row says.
func (r *reconciler) compare(row sourceRow, was folded) {
	x, err := row.change.fact()
	switch {
	case row.failure != "" || err != nil:
		r.found.Failed++
	case row.skip: // the filter does not let it pass
		r.note(was.exists() && !was.final(), &r.found.Differs, row)
	case x.data.Status == nil || !slices.Contains(taskfeed.Statuses, *x.data.Status):
	default:
		now := x.folded(was)
		switch nobodys := len(now.owners) == 0; {
		case nobodys:
			r.note(was.exists(), &r.found.Differs, row)
		case !was.exists():
			r.note(!r.only.excludes(now), &r.found.Missing, row)
		default:
			same := sameState(was, now) && was.progress == now.progress && equal(was.message, now.message) && sameOwners(was.owners, now.owners)
			r.note(!same, &r.found.Differs, row)
		}
	}
}

func (r *reconciler) note(wrong bool, count *int, row sourceRow) {
	if !wrong {
		return
	}
	*count++
	if len(r.found.Examples) < maxExamples {
		r.found.Examples = append(r.found.Examples, row.change.task)
	}
}

// findGone looks for open tasks whose rows are gone.
func (r *reconciler) findGone(ctx context.Context, tx pgx.Tx) (more bool, err error) {
	if !r.byID || len(r.found.Gone) >= fillPage {
		return false, nil
	}
	rows, _ := tx.Query(ctx, sqlOpenTasks, pgx.NamedArgs{"source": r.source, "after": r.after, "limit": fillPage}) // rows tell of errors too
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(ids) == 0 {
		return false, err
	}
	read, err := r.read(ctx, tx, pgx.NamedArgs{"ids": ids, "after": nil, "limit": nil})
	if err != nil {
		return false, err
	}
	there, err := r.inFlight(ctx, tx, ids)
	if err != nil {
		return false, err
	}
	for _, row := range read {
		there[row.change.task] = true
	}
	for _, id := range ids {
		if !there[id] && len(r.found.Gone) < fillPage {
			r.found.Gone = append(r.found.Gone, id)
		}
	}
	r.after = ids[len(ids)-1]
	return len(ids) == fillPage, nil
}

func (r *reconciler) read(ctx context.Context, tx pgx.Tx, args pgx.NamedArgs) (all []sourceRow, err error) {
	statement := strings.ReplaceAll(sqlReconcileRows, "{function}", pgx.Identifier{"attached_" + r.source + "_rows"}.Sanitize())
	row := sourceRow{change: change{source: r.source, kind: factRow}}
	c := &row.change
	rows, _ := tx.Query(ctx, statement, args) // rows tell of errors too
	_, err = pgx.ForEachRow(rows, []any{&c.task, &c.data, &row.failure, &row.place, &c.hash, &row.skip, &c.at}, func() error {
		all = append(all, row)
		c.data, row.place = nil, nil // pgx scans into new memory
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, (&foldTx{tx: tx}).joinRows(ctx, all)
}

// inFlight finds tasks about which facts wait for the sequencer.
func (r *reconciler) inFlight(ctx context.Context, tx pgx.Tx, ids []string) (map[string]bool, error) {
	rows, _ := tx.Query(ctx, sqlInFlight, pgx.NamedArgs{"source": r.source, "ids": ids}) // rows tell of errors too
	waiting, err := pgx.CollectRows(rows, pgx.RowTo[string])
	found := make(map[string]bool, len(waiting))
	for _, id := range waiting {
		found[id] = true
	}
	return found, err
}

// sqlReadAgain has the sequencer read all rows of a source again. A row that came back
// after it was found to be gone is read after its fact.
const sqlReadAgain = `
WITH again AS (
    UPDATE taskfeed.sources
    SET revision = revision + 1
    WHERE name = @source
    RETURNING name, resolved
), told AS (
    INSERT INTO taskfeed.changes (task_id, type, data, source)
    SELECT g.id, 'gone', a.resolved->'on_delete', a.name
    FROM again AS a
    CROSS JOIN unnest(@gone::text[]) AS g (id)
), attached AS (
    INSERT INTO taskfeed.changes (type, source)
    SELECT 'attached', name
    FROM again
    RETURNING 1
)
SELECT count(*), json_build_array(CASE WHEN taskfeed.must_ring() THEN pg_notify('taskfeed', '')::text END)::text
FROM attached`

// ReadAgain has the sequencer read all rows of an attached table again, and end the
// tasks that Reconcile found without a row. Users get events for what differs.
func (s *Store) ReadAgain(ctx context.Context, source string, gone []string) error {
	if gone == nil {
		gone = []string{}
	}
	ctx, cancel := s.checks.Bound(ctx)
	defer cancel()
	var found int
	var rung json.RawMessage
	err := s.checks.Do(ctx, func(db pg.Conn) error {
		return db.QueryRow(ctx, sqlReadAgain, pgx.NamedArgs{"source": source, "gone": gone}).Scan(&found, &rung)
	})
	if err == nil && found == 0 {
		return &taskfeed.Error{Code: taskfeed.CodeNotFound, Message: "there is no attached table " + source}
	}
	return pg.Wrap("read "+source+" again", err)
}
