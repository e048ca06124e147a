package store

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// Read marks are no events of the log: only the latest one of a user matters, and losing
// the last second of them costs nobody an event. So a commit does not wait for the disk.
// Nor do writers wait for its NOTIFY then: Postgres holds the lock of the queue of
// notifications until the commit is done.

// channelRead tells all servers whose marks were moved.
const channelRead = "taskfeed_read"

// sqlLazily lasts to the end of the batch.
const sqlLazily = `SELECT set_config('synchronous_commit', 'off', true)`

// Two servers may move the marks of the same users at once: both lock the rows in the
// same order.
const sqlMoveMarks = `
INSERT INTO taskfeed.read_marks AS m (user_id, through)
SELECT given.user_id, given.through
FROM unnest(@users::text[], @throughs::bigint[]) AS given (user_id, through)
ORDER BY given.user_id
ON CONFLICT ON CONSTRAINT read_marks_pkey DO UPDATE SET through = excluded.through, read_at = excluded.read_at
    WHERE m.through < excluded.through`

const sqlMarks = `
SELECT user_id, through
FROM taskfeed.read_marks
WHERE user_id = ANY (@users::text[])
LIMIT cardinality(@users::text[])`

const sqlTellMarks = `
SELECT count(pg_notify('` + channelRead + `', payload))
FROM unnest(@payloads::text[]) AS payload`

// MoveMarks moves the marks of users, each of whom is named once, forward, and returns
// where they are now. It tells all servers, this one included: see WatchMarks. A crash of
// the database may lose what was moved in its last second.
func (s *Store) MoveMarks(ctx context.Context, marks []taskfeed.Mark, server string) (now []taskfeed.Mark, err error) {
	users, throughs := make([]string, len(marks)), make([]int64, len(marks))
	for i, m := range marks {
		users[i], throughs[i] = m.UserID, int64(m.Through)
		if err := pg.CheckText("user_id", m.UserID); err != nil {
			return nil, err
		}
	}
	ctx, cancel := s.queries.Bound(ctx)
	defer cancel()
	err = s.queries.Do(ctx, func(db pg.Conn) error {
		batch := &pgx.Batch{} // one transaction
		batch.Queue(sqlLazily)
		batch.Queue(sqlMoveMarks, pgx.NamedArgs{"users": users, "throughs": throughs})
		batch.Queue(sqlMarks, pgx.NamedArgs{"users": users}).Query(func(rows pgx.Rows) (err error) {
			now, err = collectMarks(rows)
			return err
		})
		batch.Queue(sqlTellMarks, pgx.NamedArgs{"payloads": tidings(server, users)})
		return db.SendBatch(ctx, batch).Close()
	})
	return now, pg.Wrap("move read marks", err)
}

// Marks returns the marks of those of the users who have one.
func (s *Store) Marks(ctx context.Context, users []string) (marks []taskfeed.Mark, err error) {
	ctx, cancel := s.queries.Bound(ctx)
	defer cancel()
	err = s.queries.Do(ctx, func(db pg.Conn) (err error) {
		rows, _ := db.Query(ctx, sqlMarks, pgx.NamedArgs{"users": users}) // the rows report the error too
		marks, err = collectMarks(rows)
		return err
	})
	return marks, pg.Wrap("read the read marks", err)
}

func collectMarks(rows pgx.Rows) ([]taskfeed.Mark, error) {
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (m taskfeed.Mark, err error) {
		return m, row.Scan(&m.UserID, (*int64)(&m.Through))
	})
}

// maxTidings bounds the users that one NOTIFY names. Postgres takes 7999 bytes, and an id
// of 255 bytes takes at most 1532 as JSON.
const maxTidings = 6000

// tiding is the payload of a NOTIFY. It says where to look and nothing that is trusted:
// every role of the database may send one.
type tiding struct {
	Server string   `json:"server"` // that moved the marks
	Users  []string `json:"users"`
}

// tidings returns the payloads that name the users.
func tidings(server string, users []string) (payloads []string) {
	next, size := tiding{Server: server}, 0
	flush := func() {
		b, _ := json.Marshal(next) // strings can always be encoded
		payloads = append(payloads, string(b))
		next.Users, size = nil, 0
	}
	for _, user := range users {
		quoted, _ := json.Marshal(user)
		if size > 0 && size+len(quoted) > maxTidings {
			flush()
		}
		next.Users, size = append(next.Users, user), size+len(quoted)+1
	}
	flush()
	return payloads
}

// keptTidings is how many payloads may wait for WatchMarks. A server that is that far
// behind misses some: its connections learn of the marks from the next one.
const keptTidings = 256

// notified passes a NOTIFY on without blocking, and reports whether it was about marks.
func (s *Store) notified(channel, payload string) bool {
	if channel != channelRead {
		return false
	}
	select {
	case s.tidings <- payload:
	default:
	}
	return true
}

// WatchMarks calls moved with the users whose marks a server has moved, until ctx is done.
// It knows what the sessions of this store hear. A NOTIFY may be lost while none is
// connected, and forged, so moved looks for itself.
func (s *Store) WatchMarks(ctx context.Context, moved func(ctx context.Context, server string, users []string)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case payload := <-s.tidings:
			var t tiding
			if err := json.Unmarshal([]byte(payload), &t); err == nil {
				moved(ctx, t.Server, t.Users)
			}
		}
	}
}
