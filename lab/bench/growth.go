package bench

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/lab/query"
)

const (
	growthMissed   = 1000 // events that a client has missed, one in growthEvery of the newest
	growthEvery    = 10
	growthChunk    = 1_000_000
	firstPartition = 9_000_000    // events that fit into the first partition, with a margin
	heldChanges    = 20_000       // changes that pass while a transaction is held open
	growthDisk     = uint64(1500) // bytes that an event may take, with its indexes and its write-ahead log
)

// grown is a database with a log of some size, and a server on it.
type grown struct {
	name   string
	place  *place
	server *server
	lat    *latencies
	cursor int64 // of a client that has missed events
	missed int   // how many
	p50    []float64
	replay []float64
}

// measureGrowth compares the latency and the replay of logs of different sizes,
// and of one in whose database a transaction is held open.
func measureGrowth(ctx context.Context, b *bench, _ *place) (figures []Figure, err error) {
	var all []*grown
	defer func() {
		for _, g := range all {
			g.close()
		}
	}()
	for _, size := range b.cfg.Logs {
		if free, ok := b.diskFree(); ok && free < uint64(size)*growthDisk {
			b.note("the log of %d events was left out: that may take %d GB of disk and %d are free", size, uint64(size)*growthDisk>>30, free>>30)
			continue
		}
		g, err := b.grow(ctx, fmt.Sprintf("growth_%d", size), size)
		if err != nil {
			return nil, err
		}
		g.name = fmt.Sprintf("log of %d events", size)
		all = append(all, g)
	}
	if len(all) == 0 {
		return nil, nil
	}
	held, err := b.grow(ctx, "growth_held", b.cfg.Logs[0])
	if err != nil {
		return nil, err
	}
	held.name = "a transaction held open"
	all = append(all, held)
	release, err := held.hold(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := query.Script(ctx, at(held.place.url), "CHECKPOINT"); err != nil { // or one would run during the rounds
		return nil, err
	}
	for round := range b.cfg.Rounds + 1 { // the first one warms up
		for _, g := range all {
			if err := g.measure(ctx, round > 0); err != nil {
				return nil, fmt.Errorf("%s: %w", g.name, err)
			}
		}
	}
	first := all[0]
	for _, g := range all[1:] {
		figures = append(figures,
			compare("update to client at 50/s, p50, "+g.name, "ms", g.p50).lower().beside(first.name, first.p50).judge(ratioAtMost(1.2)),
			compare(fmt.Sprintf("%d missed events to one client, %s", growthMissed, g.name), "ms", g.replay).lower().beside(first.name, first.replay).judge(ratioAtMost(1.2)))
	}
	for _, f := range figures {
		b.say("growth: %s: %.2f %s, %.2f times that of a %s", f.Name, f.Value, f.Unit, f.Ratio, f.Baseline)
	}
	return figures, nil
}

func (b *bench) diskFree() (uint64, bool) { return diskFree(b.pg.DataDir()) }

// sqlGrow appends events directly. Of the newest ones, one in growthEvery belongs to
// the client that reconnects.
const sqlGrow = `
INSERT INTO taskfeed.events (id, user_id, task_id, type, version, data, created_at)
SELECT nextval('taskfeed.event_id'),
       CASE WHEN i > {size} - {span} AND i %% {every} = 0 THEN '{prefix}back' ELSE '{prefix}g' || i %% 10000 END,
       '{prefix}t' || i %% 50000, 'task_progress', i, jsonb_build_object('progress', i %% 101, 'message', 'step ' || i),
       clock_timestamp()
FROM generate_series(%d, %d) AS i`

// grow creates a database with a log of the size and starts a server on it.
func (b *bench) grow(ctx context.Context, name string, size int) (*grown, error) {
	p, err := b.open(ctx, name)
	if err != nil {
		return nil, err
	}
	g := &grown{place: p}
	if size > firstPartition {
		s, err := b.serve(ctx, p) // it creates partitions in advance
		if err != nil {
			return nil, err
		}
		s.stop()
	}
	sql := strings.NewReplacer("{prefix}", p.prefix, "{size}", fmt.Sprint(size), "{every}", fmt.Sprint(growthEvery),
		"{span}", fmt.Sprint(growthMissed*growthEvery)).Replace(sqlGrow)
	for from := 1; from <= size; from += growthChunk {
		to := min(size, from+growthChunk-1)
		if err := query.Script(ctx, at(p.url), fmt.Sprintf(sql, from, to)); err != nil {
			return nil, err
		}
		b.say("growth: %d of %d events", to, size)
	}
	if err := query.Script(ctx, at(p.url), "VACUUM (ANALYZE) taskfeed.events"); err != nil { // or autovacuum would run during the rounds
		return nil, err
	}
	g.cursor = int64(max(0, size-growthMissed*growthEvery))
	g.missed = min(size, growthMissed*growthEvery) / growthEvery
	if g.server, err = b.serve(ctx, p); err != nil {
		return nil, err
	}
	if err := p.fillOne(ctx, 1, b.cfg.Rows); err != nil {
		g.server.stop()
		return nil, err
	}
	g.lat = &latencies{bench: b, place: p, tally: b.newTally()}
	if g.lat.writers, err = b.openWriters(ctx, p, 1); err != nil {
		g.server.stop()
		return nil, err
	}
	return g, nil
}

func (g *grown) close() {
	g.lat.writers.close()
	g.server.stop()
}

// hold opens a transaction that has written and holds a snapshot, and then moves
// many changes, whose dead rows cannot be vacuumed while it is open.
func (g *grown) hold(ctx context.Context) (release func(), err error) {
	conn, err := connect(ctx, g.place.url)
	if err != nil {
		return nil, err
	}
	release = func() { query.Close(conn) }
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err == nil {
		_, err = tx.Exec(ctx, "INSERT INTO taskfeed.tasks (id, user_id) VALUES ($1, $1)", g.place.prefix+"held")
	}
	for done := 0; err == nil && done < min(heldChanges, 100*g.lat.bench.cfg.Rows); {
		var n int
		n, err = g.lat.writers.all[0].many(ctx, oursTable, done)
		done += n
	}
	if err == nil {
		err = g.place.drained(ctx)
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// measure runs one round and keeps its results if told to.
func (g *grown) measure(ctx context.Context, keep bool) error {
	feeds, err := g.server.openFeeds(ctx, 1, func(int) string { return g.place.oneUser() }, g.lat.tally.arrive)
	if err != nil {
		return err
	}
	defer feeds.close()
	if _, err := g.lat.once(ctx, oursTable, paces[0], 2*g.lat.bench.cfg.Step); err != nil {
		return feeds.explain(err)
	}
	var took []float64
	for range 5 {
		d, err := g.server.comeBack(ctx, g.place.prefix+"back", g.cursor, g.missed)
		if err != nil {
			return err
		}
		took = append(took, millis(d))
	}
	if keep {
		g.p50 = append(g.p50, g.lat.tally.quantile(50))
		g.replay = append(g.replay, median(took))
	}
	return nil
}
