package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/lab/query"
)

// attachedRows is the number of rows of the tables that measureAttached writes.
const attachedRows = 20_000

// sqlAttached makes two equal tables of an app and attaches one of them.
const sqlAttached = `
CREATE TABLE {schema}.loose (id bigint PRIMARY KEY, owner_id text, state text NOT NULL, percent int, note text, seen_at timestamptz) WITH (fillfactor = 80);
INSERT INTO {schema}.loose (id, owner_id, state, percent, note) SELECT i, '{prefix}u' || i % 1000, 'running', 0, 'step' FROM generate_series(1, {rows}) AS i;
CREATE TABLE {schema}.jobs (LIKE {schema}.loose INCLUDING ALL) WITH (fillfactor = 80);
INSERT INTO {schema}.jobs SELECT id, owner_id, state, percent, note, seen_at FROM {schema}.loose;
SELECT taskfeed.attach('{schema}.jobs', 'jobs', '{"user": "owner_id", "status": "state", "progress": "percent", "message": "note"}')`

// attachedLoad is what is repeated on both tables.
type attachedLoad struct {
	name string
	rows int // that one statement changes
	set  string
	goal *goal
}

// measureAttached compares writes to an attached table, in statements of several
// sizes, with those to the same table without triggers, while a server folds.
func measureAttached(ctx context.Context, b *bench, p *place) ([]Figure, error) {
	s, err := b.serve(ctx, p)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	if err := query.Script(ctx, at(p.url), strings.NewReplacer("{schema}", p.schema, "{prefix}", p.prefix, "{rows}", fmt.Sprint(attachedRows)).Replace(sqlAttached)); err != nil {
		return nil, err
	}
	conn, err := connect(ctx, p.url)
	if err != nil {
		return nil, err
	}
	defer query.Close(conn)
	if err := folded(ctx, conn); err != nil {
		return nil, err
	}
	one, many := ratioAtLeast(0.7), ratioAtLeast(0.5)
	const change = "percent = (percent + 1) % 100"
	var figures []Figure
	for _, load := range []attachedLoad{
		{"attached table, 1 row a statement", 1, change, &one},
		{"attached table, 100 rows a statement", 100, change, &many},
		{"attached table, 5000 rows a statement", 5000, change, &many},
		{"attached table, 100 rows a statement, nothing to tell", 100, "seen_at = clock_timestamp()", nil},
	} {
		f, err := b.writeAttached(ctx, p, conn, load)
		if err != nil {
			return figures, err
		}
		figures = append(figures, f)
	}
	for _, measure := range []func(context.Context, *place, *pgx.Conn) (Figure, error){b.foldAttached, b.riverAttached} {
		f, err := measure(ctx, p, conn)
		if err != nil {
			return figures, err
		}
		figures = append(figures, f)
	}
	f, err := b.attachedLatency(ctx, p, s)
	return append(figures, f), err
}

// writeAttached runs a load on both tables in turns.
func (b *bench) writeAttached(ctx context.Context, p *place, conn *pgx.Conn, load attachedLoad) (Figure, error) {
	var rates [2][]float64
	for round := range b.cfg.Rounds + 1 { // the first one warms up
		for i, table := range []string{"loose", "jobs"} {
			sql := p.named(fmt.Sprintf("UPDATE {schema}.%s SET %s WHERE id BETWEEN $1 AND $2", table, load.set))
			began, rows := time.Now(), 0
			for rows == 0 || time.Since(began) < b.cfg.Step {
				first := 1 + rand.N(attachedRows-load.rows+1)
				if _, err := conn.Exec(ctx, sql, first, first+load.rows-1); err != nil {
					return Figure{}, err
				}
				rows += load.rows
			}
			rate := float64(rows) / time.Since(began).Seconds()
			if err := folded(ctx, conn); err != nil {
				return Figure{}, err
			}
			if round > 0 {
				rates[i] = append(rates[i], rate)
			}
		}
	}
	f := compare(load.name, "rows/s", rates[1]).beside("the same without triggers", rates[0])
	if load.goal != nil {
		f = f.judge(*load.goal)
	}
	b.say("attached: %s: %.0f rows/s, %.2f of %s", f.Name, f.Value, f.Ratio, f.Baseline)
	return f, nil
}

// foldAttached measures how fast a server folds facts that were written at once.
func (b *bench) foldAttached(ctx context.Context, p *place, conn *pgx.Conn) (Figure, error) {
	var rates []float64
	for range b.cfg.Rounds {
		if _, err := conn.Exec(ctx, p.named("UPDATE {schema}.jobs SET percent = (percent + 1) % 100")); err != nil {
			return Figure{}, err
		}
		began := time.Now()
		if err := folded(ctx, conn); err != nil {
			return Figure{}, err
		}
		rates = append(rates, attachedRows/time.Since(began).Seconds())
	}
	f := compare(fmt.Sprintf("%d facts folded", attachedRows), "facts/s", rates).judge(atLeast(20_000))
	b.say("attached: %s: %.0f facts/s", f.Name, f.Value)
	return f, nil
}

// sqlAttachedTasks attaches a table that has the rows of taskfeed.tasks.
const sqlAttachedTasks = `
CREATE TABLE {schema}.tasks (LIKE {schema}.plain INCLUDING ALL) WITH (fillfactor = 80);
INSERT INTO {schema}.tasks SELECT * FROM {schema}.plain;
SELECT taskfeed.attach('{schema}.tasks', 'tasks', '{"id_prefix": "attached:", "user": "user_id", "status": "status", "progress": "progress", "message": "message"}')`

// attachedLatency compares the time from an update to a client with its event, of an
// attached table and of taskfeed.tasks.
func (b *bench) attachedLatency(ctx context.Context, p *place, s *server) (f Figure, err error) {
	if err := p.fillOne(ctx, 1, b.cfg.Rows); err != nil {
		return f, err
	}
	if err := query.Script(ctx, at(p.url), p.named(sqlAttachedTasks)); err != nil {
		return f, err
	}
	l := &latencies{bench: b, place: p, tally: b.newTally()}
	if l.writers, err = b.openWriters(ctx, p, 1); err != nil {
		return f, err
	}
	defer l.writers.close()
	feeds, err := s.openFeeds(ctx, 1, func(int) string { return p.oneUser() }, l.tally.arrive)
	if err != nil {
		return f, err
	}
	defer feeds.close()
	attached := p.schema + ".tasks"
	q, err := l.compare(ctx, paces[0], []string{attached, oursTable}, b.cfg.Rounds)
	if err != nil {
		return f, feeds.explain(err)
	}
	f = compare("update of an attached table to client, at 50/s, p50", "ms", q.p50[attached]).lower().beside("update of taskfeed.tasks", q.p50[oursTable]).judge(ratioAtMost(1.3))
	b.say("attached: %s: %.2f ms, %.2f times %s", f.Name, f.Value, f.Ratio, f.Baseline)
	return f, nil
}

// folded waits until no fact is left.
func folded(ctx context.Context, conn *pgx.Conn) error {
	return await(ctx, 5*time.Minute, "the facts to be folded", func() (bool, error) {
		var left bool
		err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM taskfeed.changes)").Scan(&left)
		return !left, err
	})
}
