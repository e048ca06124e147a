package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// A forward is a copy of the log to an endpoint, under a name. One process at a time
// holds it: the row says which, and until when. A process that no longer holds it can
// neither move its cursor nor add failures.

// ForwardFailure is an event that an endpoint did not take in time.
type ForwardFailure struct {
	EventID  taskfeed.Cursor
	UserID   string // empty: a broadcast
	Type     taskfeed.Type
	Body     string // as it was sent
	Tries    int
	Reason   string // of the last failure
	FailedAt time.Time
}

const sqlTakeForward = `
INSERT INTO taskfeed.forwards AS f (name, cursor, holder, held_until)
VALUES (@name, @start, @holder, clock_timestamp() + @lease::interval)
ON CONFLICT ON CONSTRAINT forwards_pkey DO UPDATE SET holder = excluded.holder, held_until = clock_timestamp() + @lease::interval
    WHERE f.held_until < clock_timestamp() OR f.holder = excluded.holder
RETURNING f.cursor`

// TakeForward makes holder the holder of a forward for the time of the lease and returns
// the forward's cursor, which is start where the name is new. It returns false while
// another process holds the forward.
func (s *Store) TakeForward(ctx context.Context, name, holder string, start taskfeed.Cursor, lease time.Duration) (cursor taskfeed.Cursor, taken bool, err error) {
	taken, err = s.forward(ctx, "take the forward", sqlTakeForward, pgx.NamedArgs{"name": name, "holder": holder, "start": start, "lease": lease}, &cursor)
	return cursor, taken, err
}

const sqlMoveForward = `
UPDATE taskfeed.forwards
SET cursor = greatest(cursor, @cursor),
    lost = lost + @lost,
    held_until = clock_timestamp() + @lease::interval
WHERE name = @name
  AND holder = @holder
RETURNING cursor`

// MoveForward moves the cursor forward, adds to the ids that were lost, and begins a new
// lease. It returns false when another process has taken the forward over.
func (s *Store) MoveForward(ctx context.Context, name, holder string, cursor taskfeed.Cursor, lost int64, lease time.Duration) (held bool, err error) {
	return s.forward(ctx, "move the cursor of the forward", sqlMoveForward,
		pgx.NamedArgs{"name": name, "holder": holder, "cursor": cursor, "lost": lost, "lease": lease}, &cursor)
}

const sqlReleaseForward = `
UPDATE taskfeed.forwards
SET holder = NULL,
    held_until = '-infinity'
WHERE name = @name
  AND holder = @holder
RETURNING cursor`

// ReleaseForward lets another process take the forward over at once.
func (s *Store) ReleaseForward(ctx context.Context, name, holder string) error {
	var cursor taskfeed.Cursor
	_, err := s.forward(ctx, "release the forward", sqlReleaseForward, pgx.NamedArgs{"name": name, "holder": holder}, &cursor)
	return err
}

const sqlAddForwardFailure = `
INSERT INTO taskfeed.forward_failures AS f (name, event_id, user_id, type, body, tries, reason)
SELECT h.name, @event_id, nullif(@user_id, ''), @type, @body, @tries, @reason
FROM taskfeed.forwards AS h
WHERE h.name = @name
  AND h.holder = @holder
ON CONFLICT ON CONSTRAINT forward_failures_pkey DO UPDATE SET tries = f.tries + excluded.tries, reason = excluded.reason, failed_at = excluded.failed_at
RETURNING f.event_id`

// AddForwardFailure keeps an event that the endpoint did not take. It returns false when
// another process has taken the forward over.
func (s *Store) AddForwardFailure(ctx context.Context, name, holder string, f ForwardFailure) (held bool, err error) {
	var id taskfeed.Cursor
	return s.forward(ctx, "keep an event that cannot be forwarded", sqlAddForwardFailure, pgx.NamedArgs{"name": name, "holder": holder,
		"event_id": f.EventID, "user_id": f.UserID, "type": string(f.Type), "body": f.Body, "tries": f.Tries, "reason": f.Reason}, &id)
}

const sqlRetriedForwardFailure = `
UPDATE taskfeed.forward_failures
SET tries = tries + 1,
    reason = @reason,
    failed_at = clock_timestamp()
WHERE name = @name
  AND event_id = @event_id
RETURNING event_id`

// RetriedForwardFailure notes that an event was sent again and not taken.
func (s *Store) RetriedForwardFailure(ctx context.Context, name string, id taskfeed.Cursor, reason string) error {
	_, err := s.forward(ctx, "note a failure", sqlRetriedForwardFailure, pgx.NamedArgs{"name": name, "event_id": id, "reason": reason}, &id)
	return err
}

const sqlDropForwardFailure = `
DELETE FROM taskfeed.forward_failures
WHERE name = @name
  AND event_id = @event_id
RETURNING event_id`

// DropForwardFailure deletes a failure, for example because it was delivered.
func (s *Store) DropForwardFailure(ctx context.Context, name string, id taskfeed.Cursor) error {
	_, err := s.forward(ctx, "delete a failure", sqlDropForwardFailure, pgx.NamedArgs{"name": name, "event_id": id}, &id)
	return err
}

const sqlForwardFailures = `
SELECT event_id, coalesce(user_id, ''), type, body, tries, reason, failed_at
FROM taskfeed.forward_failures
WHERE name = @name
  AND event_id > @after
ORDER BY event_id
LIMIT @limit`

// ForwardFailures lists the failures of a forward, oldest event first.
func (s *Store) ForwardFailures(ctx context.Context, name string, after taskfeed.Cursor, limit int) (all []ForwardFailure, err error) {
	ctx, cancel := s.queries.Bound(ctx)
	defer cancel()
	err = s.queries.Do(ctx, func(db pg.Conn) (err error) {
		rows, _ := db.Query(ctx, sqlForwardFailures, pgx.NamedArgs{"name": name, "after": after, "limit": limit}) // the rows report the error too
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (f ForwardFailure, err error) {
			return f, row.Scan(&f.EventID, &f.UserID, &f.Type, &f.Body, &f.Tries, &f.Reason, &f.FailedAt)
		})
		return err
	})
	return all, pg.Wrap("list the failures of the forward", err)
}

const sqlDeleteForward = `
WITH held AS (
    SELECT name
    FROM taskfeed.forwards
    WHERE name = @name
      AND held_until >= clock_timestamp()
), forwards AS (
    DELETE FROM taskfeed.forwards
    WHERE name = @name
      AND held_until < clock_timestamp()
    RETURNING name
), failures AS (
    DELETE FROM taskfeed.forward_failures
    WHERE name = @name
      AND NOT EXISTS (SELECT FROM held)
    RETURNING name
)
SELECT EXISTS (SELECT FROM held), (SELECT count(*) FROM forwards), (SELECT count(*) FROM failures)`

// DeletedForward says what DeleteForward did.
type DeletedForward struct {
	Held     bool  // a process holds the forward, and nothing was deleted
	Forwards int64 // 1, or 0 where there was none of the name
	Failures int64
}

// DeleteForward deletes the cursor and the failures of a forward that no process holds.
func (s *Store) DeleteForward(ctx context.Context, name string) (d DeletedForward, err error) {
	ctx, cancel := s.queries.Bound(ctx)
	defer cancel()
	err = s.queries.Do(ctx, func(db pg.Conn) error {
		return db.QueryRow(ctx, sqlDeleteForward, pgx.NamedArgs{"name": name}).Scan(&d.Held, &d.Forwards, &d.Failures)
	})
	return d, pg.Wrap("delete the forward", err)
}

// ForwardFigure is what metrics report about a forward.
type ForwardFigure struct {
	Name     string
	Works    bool          // a process holds it
	Behind   time.Duration // age of the oldest event beyond the cursor; 0 when there is none
	Failures int64         // counted up to 10,000
}

const sqlForwardFigures = `
SELECT
    f.name,
    f.held_until > clock_timestamp(),
    coalesce((
        SELECT extract(epoch FROM clock_timestamp() - e.created_at)
        FROM taskfeed.events AS e
        WHERE e.id > f.cursor
        ORDER BY e.id
        LIMIT 1), 0)::float8,
    (SELECT count(*)
     FROM (SELECT
           FROM taskfeed.forward_failures AS x
           WHERE x.name = f.name
           LIMIT 10000) AS kept)
FROM taskfeed.forwards AS f
ORDER BY f.name
LIMIT 100`

// ForwardFigures reads the figures of all forwards, of the first hundred at most. It is
// cheap enough for every scrape.
func (s *Store) ForwardFigures(ctx context.Context) (all []ForwardFigure, err error) {
	ctx, cancel := s.checks.Bound(ctx)
	defer cancel()
	err = s.checks.Do(ctx, func(db pg.Conn) (err error) {
		rows, _ := db.Query(ctx, sqlForwardFigures) // the rows report the error too
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (f ForwardFigure, err error) {
			var behind float64 // seconds
			err = row.Scan(&f.Name, &f.Works, &behind, &f.Failures)
			f.Behind = time.Duration(max(behind, 0) * float64(time.Second))
			return f, err
		})
		return err
	})
	return all, pg.Wrap("read the figures of forwards", err)
}

// forward runs a statement that returns one row, or none where it does not apply.
func (s *Store) forward(ctx context.Context, doing, statement string, args pgx.NamedArgs, into *taskfeed.Cursor) (applied bool, err error) {
	ctx, cancel := s.queries.Bound(ctx)
	defer cancel()
	err = s.queries.Do(ctx, func(db pg.Conn) error { return db.QueryRow(ctx, statement, args).Scan(into) })
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, pg.Wrap(doing, err)
}
