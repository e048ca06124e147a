package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const sqlBacklog = `
INSERT INTO taskfeed.tasks (id, user_id)
SELECT 'backlog-' || i, 'user-' || i %% 1000
FROM generate_series(1, %d) AS i`

const sqlDrained = `SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM taskfeed.event_id`

// measureDrain lets changes pile up while no server runs and measures how fast
// the first one that comes moves them into the log.
func measureDrain(ctx context.Context, b *bench) ([]Figure, error) {
	b.say("drain: piling up %d changes", b.cfg.Backlog)
	if err := b.exec(ctx, fmt.Sprintf(sqlBacklog, b.cfg.Backlog)); err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, b.url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	s, err := b.startServer(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	var first, done int
	var began time.Time
	for done < b.cfg.Backlog {
		if err := conn.QueryRow(ctx, sqlDrained).Scan(&done); err != nil {
			return nil, err
		}
		if began.IsZero() && done > 0 {
			first, began = done, time.Now()
		}
		time.Sleep(5 * time.Millisecond)
	}
	rate := float64(done-first) / time.Since(began).Seconds()
	b.say("drain: %.0f events/s", rate)
	return []Figure{{Name: fmt.Sprintf("backlog of %d changes drained", b.cfg.Backlog), Unit: "events/s", Value: rate,
		Goal: "at least 40,000", Reached: rate >= 40_000}}, nil
}
