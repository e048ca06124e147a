package store

import (
	"context"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// LogState names the log and says where it ends.
type LogState struct {
	ID    [16]byte // made with the schema
	Epoch int64    // rises whenever ids jump
	// Last is an id up to which the log is final: no event at or below it will be added.
	Last taskfeed.Cursor
	// Head is an id that no event exceeds.
	Head taskfeed.Cursor
}

const sqlLogState = `
SELECT log_id, epoch, greatest(expired_through, epoch_from, (
    SELECT id
    FROM taskfeed.events
    ORDER BY id DESC
    LIMIT 1)), CASE WHEN is_called THEN last_value ELSE 0 END
FROM taskfeed.log_state, taskfeed.event_id`

func logState(ctx context.Context, db pg.Querier) (s LogState, err error) {
	err = db.QueryRow(ctx, sqlLogState).Scan(&s.ID, &s.Epoch, &s.Last, &s.Head)
	return s, err
}

// LogState returns the name of the log and where it ends.
func (s *Store) LogState(ctx context.Context) (state LogState, err error) {
	ctx, cancel := s.feeds.Bound(ctx)
	defer cancel()
	err = s.feeds.Do(ctx, func(db pg.Conn) error {
		state, err = logState(ctx, db)
		return err
	})
	return state, pg.Wrap("read the state of the log", err)
}

var errForked = &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "the log has another epoch meanwhile; try again"}

// AfterState is After, with the state of the log from before the page was read. All of it
// is of one epoch: it is read over one connection, and the epoch again in the end.
func (s *Store) AfterState(ctx context.Context, f taskfeed.Filter, after taskfeed.Cursor, limit int) (state LogState, events []taskfeed.Event, through taskfeed.Cursor, more bool, err error) {
	ctx, cancel := s.feeds.Bound(ctx)
	defer cancel()
	err = s.feeds.Do(ctx, func(db pg.Conn) error {
		if state, err = logState(ctx, db); err != nil {
			return err
		}
		if events, through, more, err = eventsAfter(ctx, db, f, after, limit); err != nil {
			return err
		}
		end, err := logState(ctx, db)
		if err == nil && (end.ID != state.ID || end.Epoch != state.Epoch) {
			err = errForked
		}
		return err
	})
	return state, events, through, more, pg.Wrap("read events", err)
}

const sqlLineage = `
SELECT log_id, epoch
FROM taskfeed.log_state`

// Lineage names the log that the session writes, and its epoch.
func (s *Session) Lineage(ctx context.Context) (id [16]byte, epoch int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err = pg.WithFreshPlans(ctx, s.conn, func() error {
		return s.conn.QueryRow(ctx, sqlLineage).Scan(&id, &epoch)
	})
	return id, epoch, pg.Wrap("read the epoch of the log", err)
}
