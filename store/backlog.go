package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// WITH HOLD: the cursor outlives its transaction, and the changes are sorted once, at
// commit.
const sqlDeclareBacklog = `
DECLARE backlog NO SCROLL CURSOR WITH HOLD FOR
    SELECT ctid, id, ` + sqlChangeSize + ` AS size, source IS NOT NULL AS fact` + sqlUnseen + `
    LIMIT @most`

const sqlFetchBacklog = `FETCH FORWARD %d FROM backlog`

// A page of a backlog is moved by two statements of one transaction: they take a third
// less time than one does, which has to keep the changes between its parts. The second
// also returns whether these are the changes that the cursor named: a rewrite of the
// table (VACUUM FULL) after the cursor was made moves rows to other places. A row that
// was found at its place by the second was there for the first.
const (
	sqlAppendBacklog = `
INSERT INTO taskfeed.events (id, user_id, task_id, type, version, data, created_at)
SELECT nextval('taskfeed.event_id'), user_id, task_id, type, version, data, created_at
FROM (
    SELECT ` + changeColumns + `
    FROM taskfeed.changes
    WHERE ctid = ANY (@places)
    ORDER BY changes.id) AS in_order`

	sqlDeleteBacklog = `
WITH moved AS (
    DELETE FROM taskfeed.changes
    WHERE ctid = ANY (@places)
    RETURNING id
), appended AS (
    SELECT currval('taskfeed.event_id') AS id
), ` + sqlTold + `
SELECT id, coalesce((SELECT array_agg(id ORDER BY id) FROM moved) = @ids::bigint[], false)
FROM appended
LEFT JOIN told ON true`
)

// backlogPage is part of a backlog: where its changes are, their ids and sizes, and
// which are facts.
type backlogPage struct {
	places []pgtype.TID
	ids    []int64
	sizes  []int
	facts  []bool
}

// MoveBacklog moves the changes that are visible now, in large pages, and calls
// appended after each page. It returns no events: they are in the log. It sorts the
// changes once, whereas repeated moves would sort the rest each time, so its time is
// linear in the size of the backlog. What becomes visible meanwhile depends on the
// backlog and never the other way round, so it may come later. After an error the pages
// that were appended stay. Only the leader may call it; appended may use the session to
// read.
func (s *Session) MoveBacklog(ctx context.Context, appended func(taskfeed.Moved) error) error {
	before, err := s.declareBacklog(ctx)
	if err != nil {
		return err
	}
	total := 0
	next, err := s.fetchBacklog(ctx)
	if err != nil {
		return err
	}
	for len(next.ids) > 0 {
		fetched := next
		if next, err = s.fetchBacklog(ctx); err != nil {
			return err
		}
		total += len(fetched.ids)
		for len(fetched.ids) > 0 {
			m, err := s.moveCut(ctx, &fetched)
			if err != nil {
				return err
			}
			m.More = len(fetched.ids)+len(next.ids) > 0
			if err := appended(m); err != nil {
				return err
			}
		}
	}
	s.looked(before, total, total >= s.pages.most)
	return s.do(ctx, "close backlog", "CLOSE backlog")
}

// backlogInMemory is how many changes are sorted at once, in memory, when
// temp_file_limit leaves no room on disk to sort a large backlog.
const backlogInMemory = 5000

const sqlOrderInMemory = `SET work_mem = '32MB'`

// declareBacklog sorts the changes that are visible and not yet seen, or the first of
// them. It returns a snapshot from before that.
func (s *Session) declareBacklog(ctx context.Context) (before string, err error) {
	const configurationLimitExceeded = "53400"
	before, err = s.orderBacklog(ctx)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == configurationLimitExceeded && !s.pages.inMemory {
		s.log.Warn("temp_file_limit is too low to sort a large backlog at once: it is moved in small parts, which takes longer", "error", err)
		if err := s.do(ctx, "sort in memory", sqlOrderInMemory); err != nil {
			return "", err
		}
		s.pages.most, s.pages.inMemory = min(s.pages.most, backlogInMemory), true
		before, err = s.orderBacklog(ctx)
	}
	return before, pg.Wrap("sort backlog", err)
}

func (s *Session) orderBacklog(ctx context.Context) (before string, err error) {
	err = s.patiently(ctx, 10*s.timeout, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `CLOSE ALL`); err != nil { // a cursor that an error left open
				return err
			}
			if err := tx.QueryRow(ctx, `SELECT `+sqlSnapshot).Scan(&before); err != nil {
				return err
			}
			// DECLARE takes no parameters in the extended protocol.
			_, err := tx.Exec(ctx, sqlDeclareBacklog, pgx.QueryExecModeSimpleProtocol,
				pgx.NamedArgs{"seen": s.seen, "most": s.pages.most})
			return err
		})
	})
	return before, err
}

func (s *Session) fetchBacklog(ctx context.Context) (backlogPage, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var p backlogPage
	var place pgtype.TID
	var id int64
	var size int
	var fact bool
	rows, _ := s.conn.Query(ctx, fmt.Sprintf(sqlFetchBacklog, s.pages.backlog), pgx.QueryExecModeExec) // the rows report the error too
	_, err := pgx.ForEachRow(rows, []any{&place, &id, &size, &fact}, func() error {
		p.places, p.ids, p.sizes, p.facts = append(p.places, place), append(p.ids, id), append(p.sizes, size), append(p.facts, fact)
		return nil
	})
	return p, pg.Wrap("fetch backlog", err)
}

// moveCut moves the first changes of the page: up to the next fact, or else what is
// folded at once.
func (s *Session) moveCut(ctx context.Context, p *backlogPage) (taskfeed.Moved, error) {
	if p.facts[0] {
		return s.foldPlaces(ctx, p.cut(s.pages.fold, s.pages.foldBytes))
	}
	n := slices.Index(p.facts, true)
	if n < 0 {
		n = len(p.facts)
	}
	return s.movePage(ctx, p.cut(n, s.pages.backlogBytes))
}

// cut takes the first changes off the page: at most so many, and no more than fit in
// maxBytes, but at least one.
func (p *backlogPage) cut(most, maxBytes int) backlogPage {
	n, bytes := 1, p.sizes[0]
	for n < len(p.sizes) && n < most && bytes+p.sizes[n] <= maxBytes {
		bytes += p.sizes[n]
		n++
	}
	first := backlogPage{p.places[:n], p.ids[:n], p.sizes[:n], p.facts[:n]}
	p.places, p.ids, p.sizes, p.facts = p.places[n:], p.ids[n:], p.sizes[n:], p.facts[n:]
	return first
}

// movePage moves exactly the changes of a page, or none.
func (s *Session) movePage(ctx context.Context, p backlogPage) (m taskfeed.Moved, err error) {
	err = s.patiently(ctx, s.timeout, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
			args := pgx.NamedArgs{"places": p.places, "ids": p.ids}
			batch := &pgx.Batch{}
			var appended int64
			var same bool
			batch.Queue(sqlAppendBacklog, args).Exec(func(done pgconn.CommandTag) error {
				appended = done.RowsAffected()
				return nil
			})
			batch.Queue(sqlDeleteBacklog, args).QueryRow(func(row pgx.Row) error { return row.Scan((*int64)(&m.Last), &same) })
			if err := tx.SendBatch(ctx, batch).Close(); err != nil {
				return err
			}
			if appended != int64(len(p.ids)) || !same {
				return errors.New("changes are not where they were: the table was rewritten meanwhile")
			}
			m.Count = len(p.ids)
			return nil
		})
	})
	return m, pg.Wrap("move backlog", err)
}
