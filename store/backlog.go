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

// The cursor outlives its transaction: the order is worked out once, at commit.
const sqlDeclareBacklog = `
DECLARE backlog NO SCROLL CURSOR WITH HOLD FOR
    SELECT ctid, id, ` + sqlChangeSize + ` AS size, source IS NOT NULL AS fact` + sqlUnseen + `
    LIMIT @most`

const sqlFetchBacklog = `FETCH FORWARD %d FROM backlog`

// It also says whether these were the changes that were asked for: a rewrite of
// the table (VACUUM FULL) after the cursor was made moves rows to other places.
const sqlMoveBacklog = `
WITH moved AS (
    DELETE FROM taskfeed.changes
    WHERE ctid = ANY (@places)
    RETURNING ` + changeColumns + `
), ` + sqlAppend + `
SELECT count(id), coalesce(max(id), 0), (SELECT array_agg(id ORDER BY id) FROM moved) = @ids::bigint[]
FROM appended
LEFT JOIN told ON true`

// backlogPage is part of a backlog: where its changes are, their ids and sizes, and
// which are facts.
type backlogPage struct {
	places []pgtype.TID
	ids    []int64
	sizes  []int
	facts  []bool
}

// MoveBacklog moves what is visible now in large pages and calls appended after
// each; it hands on no events, they are in the log. It puts the ids in order
// once, where repeated moves would sort the rest each time, so its time grows
// with the backlog and no faster. All of a backlog precedes, in cause, whatever
// becomes visible meanwhile. After an error the pages appended so far stay. Only
// the leader may call it; appended may use the session to read.
func (s *Session) MoveBacklog(ctx context.Context, appended func(taskfeed.Moved) error) error {
	before, err := s.declareBacklog(ctx)
	if err != nil {
		return err
	}
	total := 0
	for {
		fetched, err := s.fetchBacklog(ctx)
		if err != nil {
			return err
		}
		if len(fetched.ids) == 0 {
			break
		}
		total += len(fetched.ids)
		for len(fetched.ids) > 0 {
			m, err := s.moveCut(ctx, &fetched)
			if err != nil {
				return err
			}
			if err := appended(m); err != nil {
				return err
			}
		}
	}
	s.looked(before, total, total >= s.pages.most)
	return s.do(ctx, "close backlog", "CLOSE backlog")
}

// Where temp_file_limit leaves no room on disk to put a large backlog in order, so
// many changes are, in memory.
const backlogInMemory = 5000

const sqlOrderInMemory = `SET work_mem = '32MB'`

// declareBacklog puts in order what is visible and not yet seen, or the beginning
// of it. It returns a snapshot from before that.
func (s *Session) declareBacklog(ctx context.Context) (before string, err error) {
	const configurationLimitExceeded = "53400"
	before, err = s.orderBacklog(ctx)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == configurationLimitExceeded && !s.pages.inMemory {
		s.log.Warn("temp_file_limit is too low to put a large backlog in order at once: it is moved in small parts, which takes longer", "error", err)
		if err := s.do(ctx, "order in memory", sqlOrderInMemory); err != nil {
			return "", err
		}
		s.pages.most, s.pages.inMemory = min(s.pages.most, backlogInMemory), true
		before, err = s.orderBacklog(ctx)
	}
	return before, pg.Wrap("order backlog", err)
}

func (s *Session) orderBacklog(ctx context.Context) (before string, err error) {
	err = s.patiently(ctx, 10*s.timeout, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `CLOSE ALL`); err != nil { // what an error left behind
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
	rows, _ := s.conn.Query(ctx, fmt.Sprintf(sqlFetchBacklog, s.pages.backlog), pgx.QueryExecModeExec) // rows tell of errors too
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

// cut takes the first changes off the page, at most so many, as many as fit in
// maxBytes and one at least.
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

// movePage moves exactly the changes of a page, or nothing.
func (s *Session) movePage(ctx context.Context, p backlogPage) (m taskfeed.Moved, err error) {
	err = s.patiently(ctx, s.timeout, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
			args := pgx.NamedArgs{"places": p.places, "ids": p.ids}
			var same *bool
			if err := tx.QueryRow(ctx, sqlMoveBacklog, args).Scan(&m.Count, &m.Last, &same); err != nil {
				return err
			}
			if same == nil || !*same {
				return errors.New("changes are not where they were: the table was rewritten meanwhile")
			}
			return nil
		})
	})
	return m, pg.Wrap("move backlog", err)
}
