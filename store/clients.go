package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// The cursor of a named client is what the client gets next, so it must never be beyond
// what has arrived. That it is behind, after a crash of the database, costs an event sent
// twice. So a commit does not wait for the disk, as for read marks.

// sqlTakeClient makes the caller the one who moves the client's cursor. Two new names at
// the same moment may exceed the limit by one.
const sqlTakeClient = `
INSERT INTO taskfeed.clients AS c (user_id, name, through)
SELECT @user_id, @name, coalesce(@after::bigint, @head::bigint)
WHERE EXISTS (SELECT FROM taskfeed.clients AS k WHERE k.user_id = @user_id AND k.name = @name)
   OR (SELECT count(*) FROM taskfeed.clients AS k WHERE k.user_id = @user_id) < @most
ON CONFLICT ON CONSTRAINT clients_pkey DO UPDATE SET
    through = coalesce(@after::bigint, c.through),
    turn = c.turn + 1,
    connected = true,
    seen_at = excluded.seen_at,
    seen_hour = excluded.seen_hour
RETURNING c.through, c.turn`

var errManyClients = &taskfeed.Error{Code: taskfeed.CodeTooManyClients,
	Message: fmt.Sprintf("this user has %d named clients, as many as allowed: connect with one of their names, or without; a name is forgotten when it was not used for as long as events are kept", taskfeed.MaxClients)}

// TakeClient gives a connection the right to move a client's cursor, which it takes from
// the client's other connections, and returns where the cursor is: at after, if given;
// else where it was, and at head for a new client. It returns CodeTooManyClients where
// the user has no room for a new one.
func (s *Store) TakeClient(ctx context.Context, userID, name string, after *taskfeed.Cursor, head taskfeed.Cursor) (through taskfeed.Cursor, turn int64, err error) {
	if err := pg.CheckText("user_id", userID); err != nil {
		return 0, 0, err
	}
	ctx, cancel := s.queries.Bound(ctx)
	defer cancel()
	err = s.queries.Do(ctx, func(db pg.Conn) error {
		batch := &pgx.Batch{} // one transaction
		batch.Queue(sqlLazily)
		batch.Queue(sqlTakeClient, pgx.NamedArgs{"user_id": userID, "name": name, "after": (*int64)(after), "head": int64(head), "most": taskfeed.MaxClients}).
			QueryRow(func(row pgx.Row) error { return row.Scan((*int64)(&through), &turn) })
		return db.SendBatch(ctx, batch).Close()
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, 0, errManyClients
	}
	return through, turn, pg.Wrap("read the cursor of a client", err)
}

const (
	// fullDeliveries is how many entries the delivery log of a client has before it is
	// thinned, and mostDeliveries how many it has at most.
	fullDeliveries = 96
	mostDeliveries = 128
	// presence is how long after its last mark a client counts as connected, if its
	// server was cut off before it could say that the client has gone. A server says that
	// a client is there once a minute.
	presence = "3 minutes"
)

// thinned is one column of a delivery log without entries whose neighbours lie close
// together for their age. What is left tells when the client had an event up to a fifth of
// the time since then, and exactly where there were few marks.
func thinned(column string) string {
	return `ARRAY(
        SELECT m.` + column + `
        FROM (SELECT u.through, u.at, u.place, lead(u.at) OVER w - lag(u.at) OVER w AS gap
              FROM unnest(c.marks, c.marked_at) WITH ORDINALITY AS u (through, at, place)
              WINDOW w AS (ORDER BY u.place)) AS m
        WHERE (m.place % 2 = 1 OR m.gap IS NULL OR m.gap > (g.at - m.at) / 5)
          AND m.place > cardinality(c.marks) - @most + 1
        ORDER BY m.place)`
}

// Two servers may have marks of the same clients at once: both lock the rows in the same
// order. A client that was erased or forgotten stays so.
var sqlMoveClients = `
WITH given AS (
    SELECT c.user_id, c.name, g.through, g.turn, g.gone, clock_timestamp() AS at
    FROM unnest(@users::text[], @names::text[], @throughs::bigint[], @turns::bigint[], @gone::boolean[]) AS g (user_id, name, through, turn, gone)
    JOIN taskfeed.clients AS c ON c.user_id = g.user_id AND c.name = g.name
    WHERE c.turn <= g.turn
    ORDER BY c.user_id, c.name
    FOR NO KEY UPDATE OF c
)
UPDATE taskfeed.clients AS c
SET through = greatest(c.through, g.through),
    turn = g.turn,
    connected = NOT g.gone,
    seen_at = g.at,
    seen_hour = taskfeed.hour_of(g.at),
    marks = CASE
        WHEN g.through <= c.through THEN c.marks
        WHEN cardinality(c.marks) < @full THEN c.marks || g.through
        ELSE ` + thinned("through") + ` || g.through
    END,
    marked_at = CASE
        WHEN g.through <= c.through THEN c.marked_at
        WHEN cardinality(c.marks) < @full THEN c.marked_at || g.at
        ELSE ` + thinned("at") + ` || g.at
    END
FROM given AS g
WHERE c.user_id = g.user_id
  AND c.name = g.name`

// MoveClients moves the cursors of clients forward, each of which is named once. A mark
// of a connection whose right to move the cursor another one has taken changes nothing.
func (s *Store) MoveClients(ctx context.Context, marks []taskfeed.ClientMark) error {
	n := len(marks)
	users, names, throughs, turns, gone := make([]string, n), make([]string, n), make([]int64, n), make([]int64, n), make([]bool, n)
	for i, m := range marks {
		users[i], names[i], throughs[i], turns[i], gone[i] = m.UserID, m.Name, int64(m.Through), m.Turn, m.Gone
	}
	ctx, cancel := s.queries.Bound(ctx)
	defer cancel()
	err := s.queries.Do(ctx, func(db pg.Conn) error {
		batch := &pgx.Batch{} // one transaction
		batch.Queue(sqlLazily)
		batch.Queue(sqlMoveClients, pgx.NamedArgs{"users": users, "names": names, "throughs": throughs, "turns": turns, "gone": gone, "full": fullDeliveries, "most": mostDeliveries})
		return db.SendBatch(ctx, batch).Close()
	})
	return pg.Wrap("move the cursors of clients", err)
}

const sqlClients = `
SELECT name, through, connected AND seen_at > clock_timestamp() - interval '` + presence + `', seen_at, marks, marked_at
FROM taskfeed.clients
WHERE user_id = @user_id
ORDER BY name
LIMIT 1000`

// Clients returns the named clients of a user, by name.
func (s *Store) Clients(ctx context.Context, userID string) (clients []taskfeed.NamedClient, err error) {
	if err := pg.CheckText("user_id", userID); err != nil {
		return nil, err
	}
	ctx, cancel := s.queries.Bound(ctx)
	defer cancel()
	err = s.queries.Do(ctx, func(db pg.Conn) (err error) {
		rows, _ := db.Query(ctx, sqlClients, pgx.NamedArgs{"user_id": userID}) // the rows report the error too
		clients, err = pgx.CollectRows(rows, scanClient)
		return err
	})
	return clients, pg.Wrap("list the clients of a user", err)
}

func scanClient(row pgx.CollectableRow) (c taskfeed.NamedClient, err error) {
	var marks []int64
	var times []time.Time
	if err := row.Scan(&c.Name, (*int64)(&c.Cursor), &c.Connected, &c.SeenAt, &marks, &times); err != nil {
		return c, err
	}
	c.SeenAt, c.Deliveries = c.SeenAt.UTC(), make([]taskfeed.Delivery, len(marks))
	for i := range marks {
		c.Deliveries[i] = taskfeed.Delivery{Through: taskfeed.Cursor(marks[i]), At: times[i].UTC()}
	}
	return c, nil
}

// A client that is connected is seen once a minute, so retention below ten minutes would
// forget clients that are there.
const sqlDropClients = `
DELETE FROM taskfeed.clients
WHERE (user_id, name) IN (
    SELECT user_id, name
    FROM taskfeed.clients
    WHERE seen_hour < clock_timestamp() - @age::interval
      AND seen_at < clock_timestamp() - greatest(@age::interval, interval '10 minutes')
    ORDER BY seen_hour
    LIMIT @limit)
  AND seen_at < clock_timestamp() - greatest(@age::interval, interval '10 minutes') -- still`

const (
	forgottenClients      = 1000 // in one statement
	forgottenClientRounds = 100  // in one call; the rest is for the next
)

// dropClients forgets clients that have not been there for so long.
func (s *Session) dropClients(ctx context.Context, age time.Duration) error {
	for range forgottenClientRounds {
		tag, err := s.conn.Exec(ctx, sqlDropClients, pgx.NamedArgs{"age": age, "limit": forgottenClients})
		if err != nil || tag.RowsAffected() < forgottenClients {
			return pg.Wrap("forget clients", err)
		}
	}
	return nil
}
