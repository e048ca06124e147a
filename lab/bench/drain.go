package bench

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/taskfeed/taskfeed/lab/query"
)

const sqlBacklog = `
INSERT INTO taskfeed.tasks (id, user_id)
SELECT '{prefix}backlog-' || i, '{prefix}u' || i % 1000
FROM generate_series(1, {changes}) AS i`

// sqlCopy is the baseline: it writes the backlog to a table with the log's indexes
// in one statement. A move cannot be faster.
const sqlCopy = `
INSERT INTO {schema}.log (id, user_id, task_id, type, version, data, created_at)
SELECT id, user_id, task_id, type, version, data, created_at
FROM taskfeed.changes
ORDER BY id`

const sqlDrained = `SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM taskfeed.event_id`

// measureDrain writes changes while no server runs and measures how fast a new
// server moves them into the log.
func measureDrain(ctx context.Context, b *bench, p *place) ([]Figure, error) {
	n := b.cfg.Backlog
	b.say("drain: piling up %d changes", n)
	sql := strings.NewReplacer("{prefix}", p.prefix, "{schema}", p.schema, "{changes}", fmt.Sprint(n))
	if err := query.Script(ctx, at(p.url), sql.Replace(sqlBacklog)); err != nil {
		return nil, err
	}
	if err := query.Script(ctx, at(p.url), sql.Replace("CREATE TABLE {schema}.log (LIKE taskfeed.events INCLUDING ALL)")); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := query.Script(ctx, at(p.url), sql.Replace(sqlCopy)); err != nil {
		return nil, err
	}
	base := float64(n) / time.Since(began).Seconds()
	conn, err := connect(ctx, p.url)
	if err != nil {
		return nil, err
	}
	defer query.Close(conn)
	var done int
	launched := make(chan error, 1)
	var s *server
	go func() { // the server is ready only when the backlog is gone
		var err error
		s, err = b.serve(ctx, p)
		launched <- err
	}()
	limit := time.Minute + time.Duration(n)*time.Millisecond
	waited := await(ctx, limit, "the backlog to be drained", func() (bool, error) {
		err := conn.QueryRow(ctx, sqlDrained).Scan(&done)
		if done == 0 { // the time starts with the first change
			began = time.Now()
		}
		return done >= n, err
	})
	rate := float64(done) / max(time.Since(began).Seconds(), 0.001)
	if err := <-launched; err != nil {
		return nil, err
	}
	s.stop()
	if waited != nil {
		return nil, waited
	}
	f := compare(fmt.Sprintf("backlog of %d changes drained", n), "events/s", []float64{rate}).
		beside("one INSERT … SELECT of them", []float64{base}).judge(atLeast(40_000))
	b.say("drain: %.0f events/s, %s %.0f", f.Value, f.Baseline, f.Base)
	return []Figure{f}, nil
}
