package store

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// sources is what the sequencer has to do for attached tables besides folding: read
// the rows that were there before, and tell users that something is missing.
type sources struct {
	loaded  bool // the fields below are up to date
	filling []filling
	owed    []string             // sources whose users are owed a reset
	due     time.Time            // of the next reset
	paused  time.Time            // until then nothing is tried again
	made    map[string]time.Time // when a source's functions were last made anew

	unjoined map[string]unjoined
}

// filling is a source whose rows are being read.
type filling struct {
	name     string
	revision int64
	place    []string // key of the last row
	only     fillRule
}

// fillRule says which rows make new tasks when they are read. The tasks that there are
// change by all rows.
type fillRule struct {
	open  bool       // not those that have ended
	since *time.Time // not those that were created before
}

func (r fillRule) excludes(t folded) bool {
	return r.open && t.final() || r.since != nil && t.createdAt.Before(*r.since)
}

const (
	fillPage    = 1000        // rows
	resetEvery  = time.Minute // to the users of one source
	remakePause = 10 * time.Second
	sourcePause = time.Second // after a source could not be looked after
)

const sqlSources = `
SELECT s.name, s.revision, CASE WHEN st.revision = s.revision THEN st.place END,
    s.resolved->>'backfill' = 'open', (s.resolved->>'since')::timestamptz,
    s.resolved->>'backfill' <> 'none' AND NOT coalesce(st.revision = s.revision AND st.filled, false),
    coalesce(st.reset_owed, false), coalesce(extract(epoch FROM st.reset_at + @every - clock_timestamp()), 0)::float8
FROM taskfeed.sources AS s
LEFT JOIN taskfeed.source_states AS st ON st.name = s.name
ORDER BY s.name
LIMIT 1000`

// tendSources does the next piece of work for attached tables, after a look that left
// nothing behind, and adds the events that it appended to those that were moved.
func (s *Session) tendSources(ctx context.Context, m taskfeed.Moved) (taskfeed.Moved, error) {
	if !s.sources.loaded {
		if err := s.loadSources(ctx); err != nil {
			return m, pg.Wrap("read which tables are attached", err)
		}
	}
	if time.Now().Before(s.sources.paused) {
		return m, nil
	}
	var more taskfeed.Moved
	var err error
	switch {
	case len(s.sources.owed) > 0 && !time.Now().Before(s.sources.due):
		more, err = s.tellReset(ctx, s.sources.owed[0])
	case len(s.sources.filling) > 0:
		more, err = s.fill(ctx, &s.sources.filling[0])
	default:
		return m, nil
	}
	if err != nil && s.Alive() && ctx.Err() == nil { // what was moved was moved
		s.log.Warn("an attached table could not be looked after; trying again", "error", err)
		s.sources.postpone()
		return m, nil
	}
	if err != nil {
		return m, err
	}
	if m.Partial() || more.Partial() {
		m.Events = nil
	} else {
		m.Events = append(m.Events, more.Events...)
	}
	m.Count, m.Last = m.Count+more.Count, max(m.Last, more.Last)
	return m, nil
}

// postpone pauses the work. After the pause another source comes first.
func (s *sources) postpone() {
	s.paused = time.Now().Add(sourcePause)
	if n := len(s.filling); n > 1 {
		s.filling = append(s.filling[1:n:n], s.filling[0])
	}
}

func (s *Session) loadSources(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	s.sources.filling, s.sources.owed, s.sources.due = nil, nil, time.Time{}
	var f filling
	var unfilled, owed bool
	var wait float64                                                             // seconds
	rows, _ := s.conn.Query(ctx, sqlSources, pgx.NamedArgs{"every": resetEvery}) // rows tell of errors too
	_, err := pgx.ForEachRow(rows, []any{&f.name, &f.revision, &f.place, &f.only.open, &f.only.since, &unfilled, &owed, &wait}, func() error {
		if unfilled {
			s.sources.filling = append(s.sources.filling, f)
		}
		if due := time.Now().Add(time.Duration(max(wait, 0) * float64(time.Second))); owed {
			s.sources.owed = append(s.sources.owed, f.name)
			if len(s.sources.owed) == 1 || due.Before(s.sources.due) {
				s.sources.due = due
			}
		}
		f = filling{}
		return nil
	})
	s.sources.loaded = err == nil
	return err
}

const sqlResetTold = `
UPDATE taskfeed.source_states
SET reset_owed = false, reset_at = clock_timestamp()
WHERE name = @source`

// tellReset tells the users of a source's open tasks that something is missing.
func (s *Session) tellReset(ctx context.Context, name string) (m taskfeed.Moved, err error) {
	err = s.folding(ctx, func(f *foldTx) error {
		args := pgx.NamedArgs{"source": name}
		if err := f.tx.QueryRow(ctx, sqlTellReset, args).Scan(&m.Count, &m.Last); err != nil {
			return err
		}
		_, err := f.tx.Exec(ctx, sqlResetTold, args)
		return err
	})
	s.sources.loaded = false
	return m, pg.Wrap("tell users of a source that something is missing", err)
}

// sqlRows reads rows of a source as facts. It skips a row of which there are facts that
// are not folded yet: they may be older than the row is now.
const sqlRows = `
SELECT coalesce(r.task_id, ''), coalesce(r.data, 'null')::text, coalesce(r.failure, ''), r.place,
    coalesce(hashtextextended(nullif(r.data->'result', 'null')::text, 0), 0),
    r.data IS NULL OR r.task_id IS NULL OR r.task_id = ANY (ARRAY(
        SELECT u.task_id
        FROM (SELECT source, task_id` + sqlUnseen + `) AS u
        WHERE u.source = @source
          AND u.task_id IS NOT NULL)),
    clock_timestamp()
FROM taskfeed.{function}(@ids::text[], @after::text[], @limit::integer) AS r`

// sourceRow is a row of an attached table as its function reads it.
type sourceRow struct {
	change  change
	failure string
	place   []string
	skip    bool // there are facts of it that are not folded yet, or it does not pass the filter
}

func (f *foldTx) readRows(ctx context.Context, source string, args pgx.NamedArgs) (all []sourceRow, err error) {
	statement := strings.ReplaceAll(sqlRows, "{function}", pgx.Identifier{"attached_" + source + "_rows"}.Sanitize())
	args["source"], args["seen"] = source, f.s.seen
	err = pgx.BeginFunc(ctx, f.tx, func(tx pgx.Tx) error { // it fails if the role may not read the table any more
		r := sourceRow{change: change{source: source, kind: factRow}}
		c := &r.change
		rows, _ := tx.Query(ctx, statement, args) // rows tell of errors too
		_, err := pgx.ForEachRow(rows, []any{&c.task, &c.data, &r.failure, &r.place, &c.hash, &r.skip, &c.at}, func() error {
			all = append(all, r)
			c.data, r.place = nil, nil
			return nil
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, f.joinRows(ctx, all)
}

const sqlFilled = `
INSERT INTO taskfeed.source_states AS s (name, revision, filled, place)
VALUES (@name, @revision, @filled, @place)
ON CONFLICT ON CONSTRAINT source_states_pkey DO UPDATE
SET revision = excluded.revision, filled = excluded.filled, place = excluded.place`

// All rows are counted as they are read, so the counts begin anew with the first.
const sqlCountAnew = `
UPDATE taskfeed.source_states
SET unmapped = 0, unowned = 0, unknown = '{}'
WHERE name = @name`

// fill reads the next page of a source's rows and folds them: users are told of what
// differs from their tasks.
func (s *Session) fill(ctx context.Context, from *filling) (m taskfeed.Moved, err error) {
	var place []string
	err = s.folding(ctx, func(f *foldTx) error {
		read, err := f.readRows(ctx, from.name, pgx.NamedArgs{"ids": nil, "after": from.place, "limit": fillPage})
		if err != nil {
			return err
		}
		for _, r := range read {
			if r.change.again {
				return errors.New(r.change.unfound)
			}
		}
		place = from.place
		if len(read) > 0 {
			place = read[len(read)-1].place
		}
		if from.place == nil {
			if _, err := f.tx.Exec(ctx, sqlCountAnew, pgx.NamedArgs{"name": from.name}); err != nil {
				return err
			}
		}
		if m, err = f.foldRows(ctx, read, from.only); err != nil {
			return err
		}
		_, err = f.tx.Exec(ctx, sqlFilled, pgx.NamedArgs{"name": from.name, "revision": from.revision, "filled": len(read) < fillPage, "place": place})
		if len(read) < fillPage {
			place = nil
		}
		return err
	})
	if err != nil {
		return taskfeed.Moved{}, pg.Wrap("read the rows of "+from.name, err)
	}
	if from.place = place; place == nil {
		s.sources.loaded = false
	}
	return m, nil
}

// foldRows folds rows that were read.
func (f *foldTx) foldRows(ctx context.Context, read []sourceRow, only fillRule) (taskfeed.Moved, error) {
	var changes []change
	for _, r := range read {
		if !r.skip {
			changes = append(changes, r.change)
		}
	}
	tasks, err := f.readTasks(ctx, changes)
	if err != nil {
		return taskfeed.Moved{}, err
	}
	folder, out := newFolder(tasks), new(writing)
	for _, r := range read {
		switch x, err := r.change.fact(); {
		case r.failure != "":
			folder.count(r.change.source).fail(r.failure)
		case r.skip:
		case err != nil:
			folder.count(r.change.source).fail(err.Error())
		default:
			x.filled = &only
			folder.fold(x)
		}
		out.told(folder.take())
	}
	return f.write(ctx, out, folder)
}

// rereading is the result of reading the row of a broken fact again.
type rereading struct {
	row   *fact
	lost  bool // the row cannot be read: its users must be told
	again bool // all rows are to be read again
}

// readBroken reads the rows again whose mapping failed when they were written, except
// those that have later facts.
func (f *foldTx) readBroken(ctx context.Context, changes []change) (map[int64]rereading, error) {
	found, bySource := map[int64]rereading{}, map[string]map[string]int64{}
	later := map[string]bool{}
	for _, c := range slices.Backward(changes) {
		switch {
		case c.source == "" || c.kind != factBroken && c.kind != factStale || c.task != "" && later[c.task]:
		case c.task == "":
			found[c.id] = rereading{lost: true}
		default:
			if bySource[c.source] == nil {
				bySource[c.source] = map[string]int64{}
			}
			bySource[c.source][c.task] = c.id
		}
		later[c.task] = true
	}
	for _, source := range slices.Sorted(maps.Keys(bySource)) {
		if err := f.rereadOne(ctx, source, bySource[source], found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

const sqlSourceReads = `
SELECT taskfeed.source_query(s.resolved, 'ids') IS NOT NULL
FROM taskfeed.sources AS s
WHERE s.name = @source`

func (f *foldTx) rereadOne(ctx context.Context, source string, ids map[string]int64, found map[int64]rereading) error {
	var byID bool
	switch err := f.tx.QueryRow(ctx, sqlSourceReads, pgx.NamedArgs{"source": source}).Scan(&byID); {
	case errors.Is(err, pgx.ErrNoRows): // detached meanwhile
		return nil
	case err != nil:
		return err
	}
	var read []sourceRow
	err := errors.New("the id is not a column of the key")
	if byID {
		f.remake(ctx, source)
		read, err = f.readRows(ctx, source, pgx.NamedArgs{"ids": slices.Sorted(maps.Keys(ids)), "after": nil, "limit": nil})
	}
	if err != nil {
		if !f.s.Alive() {
			return err
		}
		for _, id := range ids {
			found[id] = rereading{lost: true}
		}
		return nil
	}
	for _, r := range read {
		x, err := r.change.fact()
		switch id := ids[r.change.task]; {
		case r.failure != "" || err != nil:
			found[id] = rereading{lost: true, again: r.change.again}
		case !r.skip:
			found[id] = rereading{row: &x}
		}
	}
	return nil
}

const (
	sqlRemake = `
SELECT s.revision, taskfeed.make_source(s.relation::regclass, s.name, s.resolved)::text
FROM taskfeed.sources AS s
JOIN pg_class AS c ON c.oid = s.relation
WHERE s.name = @source`

	sqlRevision = `
SELECT s.revision
FROM taskfeed.sources AS s
WHERE s.name = @source`
)

var errAttachedMeanwhile = errors.New("it was attached again or detached meanwhile")

// remake creates the functions of a source again, at most once in remakePause. After a
// column got another type, sessions that are older keep the old type until the
// functions change.
func (f *foldTx) remake(ctx context.Context, source string) {
	if f.s.sources.made == nil {
		f.s.sources.made = map[string]time.Time{}
	}
	if time.Since(f.s.sources.made[source]) < remakePause {
		return
	}
	f.s.sources.made[source] = time.Now()
	err := pgx.BeginFunc(ctx, f.tx, func(tx pgx.Tx) error {
		// An attach that committed since the first statement began has made other functions.
		// One that comes later cannot replace these before this transaction ends.
		var made, now int64
		var none *string
		args := pgx.NamedArgs{"source": source}
		err := tx.QueryRow(ctx, sqlRemake, args).Scan(&made, &none)
		if err == nil {
			err = tx.QueryRow(ctx, sqlRevision, args).Scan(&now)
		}
		if err == nil && now != made {
			err = errAttachedMeanwhile
		}
		return err
	})
	if err != nil {
		f.s.log.Warn("the functions of an attached table could not be made anew", "source", source, "error", err)
	}
}
