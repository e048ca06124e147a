package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/taskfeed/taskfeed"
)

const (
	// lookPage is how many changes one ordinary move takes.
	lookPage = 1000

	// backlogPage is how many changes one move of a backlog takes, and
	// backlogMost how many ids of it are put in order at once.
	backlogPage = 20_000
	backlogMost = 2_000_000

	// fullLookEvery bounds how long a change could hide from the bounded look,
	// should its reasoning be wrong somewhere.
	fullLookEvery = 10 * time.Second

	// seenNothing is a snapshot before every transaction.
	seenNothing = "1:1:"

	// maxMoveBytes bounds the data that one move hands back.
	maxMoveBytes = 8 << 20
)

// sqlUnseen finds the changes that are new since the snapshot seen: those of
// transactions that began after it, and of those that were under way and have
// ended since. It skips the ones still under way, so a long transaction does not
// make the look longer. xip holds top-level xids only, as changes.xid does.
const sqlUnseen = `
    FROM taskfeed.changes
    WHERE xid >= pg_snapshot_xmax(@seen::text::pg_snapshot)
       OR xid = ANY (ARRAY(
           SELECT x
           FROM pg_snapshot_xip(@seen::text::pg_snapshot) AS x
           WHERE pg_visible_in_snapshot(x, pg_current_snapshot())))
    ORDER BY id`

// sqlAppend follows a CTE moved of deleted changes: it numbers them in the order
// of capture, appends them to the log and rings for the followers, if any. The
// lowest visible ids go first. Order by (xid, id) would be wrong: it inverts two
// changes of one row when the older transaction wrote last.
const sqlAppend = `
appended AS (
    INSERT INTO taskfeed.events (id, user_id, task_id, type, version, data, created_at)
    SELECT nextval('taskfeed.event_id'), user_id, task_id, type, version, data, created_at
    FROM (SELECT ` + tableColumns + ` FROM moved ORDER BY id) AS in_order
    RETURNING ` + tableColumns + `
), told AS (
    SELECT pg_notify('` + channelLog + `', '')
    FROM (SELECT FROM appended LIMIT 1) AS something
    WHERE NOT pg_try_advisory_xact_lock(` + lockFollowers + `) -- a follower shares it
)`

const sqlMove = `
WITH moved AS (
    DELETE FROM taskfeed.changes
    WHERE ctid = ANY (ARRAY(SELECT ctid` + sqlUnseen + ` LIMIT @limit))
    RETURNING ` + tableColumns + `
), ` + sqlAppend + `
SELECT ` + eventColumns + `
FROM appended
LEFT JOIN told ON true
ORDER BY id`

const sqlSnapshot = `SELECT pg_current_snapshot()::text`

// Move takes the changes with the lowest ids among those visible, appends them
// to the log and returns when that is on disk. What is in changes is by
// definition not in the log, so a crash at any point loses and doubles nothing.
// Only the leader may call it.
func (s *Session) Move(ctx context.Context) (taskfeed.Moved, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	full := time.Since(s.fullAt) > fullLookEvery
	if full {
		s.seen = seenNothing
	}
	var m taskfeed.Moved
	var before string // taken before the move's own snapshot: the bound errs towards looking twice
	batch := &pgx.Batch{}
	batch.Queue(sqlSnapshot).QueryRow(func(row pgx.Row) error { return row.Scan(&before) })
	batch.Queue(sqlMove, pgx.NamedArgs{"seen": s.seen, "limit": lookPage}).Query(func(rows pgx.Rows) (err error) {
		m, err = collectMoved(rows)
		return err
	})
	if err := s.conn.SendBatch(ctx, batch).Close(); err != nil {
		s.fullAt = time.Time{}
		return taskfeed.Moved{}, wrap("move changes", err)
	}
	m.More = m.Count >= lookPage
	if !m.More {
		s.seen = before
		if full {
			s.fullAt = time.Now()
		}
	}
	return m, nil
}

func collectMoved(rows pgx.Rows) (taskfeed.Moved, error) {
	defer rows.Close()
	var m taskfeed.Moved
	size := 0
	for rows.Next() {
		m.Count++
		if size > maxMoveBytes {
			continue
		}
		e, err := scanEvent(rows)
		if err != nil {
			return m, err
		}
		size += len(e.Data)
		m.Events = append(m.Events, e)
	}
	if len(m.Events) > 0 {
		m.Last = m.Events[len(m.Events)-1].ID
	}
	return m, rows.Err()
}

const sqlDeclareBacklog = `DECLARE backlog NO SCROLL CURSOR WITH HOLD FOR SELECT ctid, id` + sqlUnseen + ` LIMIT @most`

var sqlFetchBacklog = fmt.Sprintf("FETCH FORWARD %d FROM backlog", backlogPage)

// It also says whether these were the changes that were asked for: a rewrite of
// the table (VACUUM FULL) between the two statements moves rows to other places.
const sqlMoveBacklog = `
WITH moved AS (
    DELETE FROM taskfeed.changes
    WHERE ctid = ANY (@places)
    RETURNING ` + tableColumns + `
), ` + sqlAppend + `
SELECT count(id), coalesce(max(id), 0), (SELECT array_agg(id ORDER BY id) FROM moved) = @ids::bigint[]
FROM appended
LEFT JOIN told ON true`

// MoveBacklog moves what is visible now in large pages and calls appended after
// each. It puts the ids in order once, where repeated moves would sort the rest
// each time, so its time grows with the backlog and no faster. All of a backlog
// precedes, in cause, whatever becomes visible meanwhile. Only the leader may
// call it.
func (s *Session) MoveBacklog(ctx context.Context, appended func(taskfeed.Moved) error) error {
	s.fullAt = time.Time{} // the next move looks at everything
	if err := s.declareBacklog(ctx); err != nil {
		return err
	}
	for {
		places, ids, err := s.fetchBacklog(ctx)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			return s.do(ctx, "close backlog", "CLOSE backlog")
		}
		m, err := s.movePage(ctx, places, ids)
		if err != nil {
			return err
		}
		if err := appended(m); err != nil {
			return err
		}
	}
}

func (s *Session) declareBacklog(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*s.timeout)
	defer cancel()
	// A cursor that an error left behind is in the way.
	err := pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `CLOSE ALL`); err != nil {
			return err
		}
		// DECLARE takes no parameters in the extended protocol.
		_, err := tx.Exec(ctx, sqlDeclareBacklog, pgx.QueryExecModeSimpleProtocol,
			pgx.NamedArgs{"seen": seenNothing, "most": backlogMost})
		return err
	})
	return wrap("order backlog", err)
}

func (s *Session) fetchBacklog(ctx context.Context) (places []pgtype.TID, ids []int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	rows, err := s.conn.Query(ctx, sqlFetchBacklog, pgx.QueryExecModeExec)
	if err != nil {
		return nil, nil, wrap("fetch backlog", err)
	}
	var place pgtype.TID
	var id int64
	_, err = pgx.ForEachRow(rows, []any{&place, &id}, func() error {
		places, ids = append(places, place), append(ids, id)
		return nil
	})
	return places, ids, wrap("fetch backlog", err)
}

// movePage moves exactly the given changes, or nothing.
func (s *Session) movePage(ctx context.Context, places []pgtype.TID, ids []int64) (taskfeed.Moved, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*s.timeout)
	defer cancel()
	var m taskfeed.Moved
	err := pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
		args := pgx.NamedArgs{"places": places, "ids": ids}
		var same *bool
		if err := tx.QueryRow(ctx, sqlMoveBacklog, args).Scan(&m.Count, &m.Last, &same); err != nil {
			return err
		}
		if same == nil || !*same {
			return errors.New("changes are not where they were: the table was rewritten meanwhile")
		}
		return nil
	})
	return m, wrap("move backlog", err)
}

// sqlCluster identifies the cluster and its history; neither function needs
// more than an ordinary role.
const sqlCluster = `
SELECT c.system_identifier, ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
FROM pg_control_system() AS c`

const sqlKnownCluster = `
SELECT coalesce(system_identifier, 0), coalesce(timeline, 0)
FROM taskfeed.log_state
FOR UPDATE`

const sqlRememberCluster = `
UPDATE taskfeed.log_state
SET system_identifier = @system, timeline = @timeline`

const sqlJump = `
SELECT setval('taskfeed.event_id', greatest(last_value, @seen) + @by)
FROM taskfeed.event_id`

// jumpBy is more events than a standby or a backup can lag behind.
const jumpBy = 1_000_000

// TakeOver prepares a new leader. When the cluster or its timeline is not the
// one that the log was last written on (a failover, a restore), or when the
// caller has seen events beyond the head of this log, ids jump, so that none
// that a client may have seen is ever used again. It reports whether they did.
func (s *Session) TakeOver(ctx context.Context, seen taskfeed.Cursor) (jumped bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	s.fullAt = time.Time{}
	err = pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
		var system, timeline, knownSystem, knownTimeline int64
		var head taskfeed.Cursor
		if err := tx.QueryRow(ctx, sqlCluster).Scan(&system, &timeline); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, sqlKnownCluster).Scan(&knownSystem, &knownTimeline); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, sqlHead).Scan(&head); err != nil {
			return err
		}
		moved := knownSystem != 0 && (system != knownSystem || timeline != knownTimeline)
		if jumped = moved || seen > head; jumped {
			if _, err := tx.Exec(ctx, sqlJump, pgx.NamedArgs{"seen": seen, "by": jumpBy}); err != nil {
				return err
			}
		}
		if system == knownSystem && timeline == knownTimeline {
			return nil
		}
		_, err := tx.Exec(ctx, sqlRememberCluster, pgx.NamedArgs{"system": system, "timeline": timeline})
		return err
	})
	return jumped, wrap("take over the log", err)
}
