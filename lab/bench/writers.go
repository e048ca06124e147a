package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"github.com/taskfeed/taskfeed/lab/query"
)

// bulkRows is the number of rows that one bulk statement changes.
const bulkRows = 100

// workload is what a writer repeats. once runs it once on a table and returns how
// many rows it changed; i counts up.
type workload struct {
	name string
	unit string
	once func(w *writer, ctx context.Context, table string, i int) (rows int, err error)
}

var (
	singleRow = workload{"single-row updates", "updates/s", (*writer).one}
	bulk      = workload{fmt.Sprintf("%d-row updates", bulkRows), "rows/s", (*writer).many}
	twoUsers  = workload{"transactions for two users", "transactions/s", (*writer).pair}
)

// measureWriters compares the throughput of writers: without a trigger, with a
// trigger that notifies at every commit, and with taskfeed's triggers while a server
// runs.
func measureWriters(ctx context.Context, b *bench, p *place) ([]Figure, error) {
	s, err := b.serve(ctx, p)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	stopListening, err := listenBare(ctx, p, func(string) {})
	if err != nil {
		return nil, err
	}
	defer stopListening()
	most := slices.Max(b.cfg.Writers)
	if err := p.fill(ctx, most, b.cfg.Rows, p.bare()); err != nil {
		return nil, err
	}
	ws, err := b.openWriters(ctx, p, most)
	if err != nil {
		return nil, err
	}
	defer ws.close()
	var figures []Figure
	for _, load := range []workload{singleRow, bulk} {
		for _, n := range b.cfg.Writers {
			more, err := ws.compare(ctx, load, n)
			if err != nil {
				return figures, err
			}
			figures = append(figures, more...)
		}
	}
	more, err := ws.compare(ctx, twoUsers, min(most, goalWriters))
	if err != nil {
		return figures, err
	}
	figures = append(figures, more...)
	deadlocks := Figure{Name: "deadlocks among " + twoUsers.name, Unit: "transactions", Baseline: "no trigger", Lower: true,
		Base: float64(ws.deadlocks[p.plain()]), Value: float64(ws.deadlocks[oursTable])}
	return append(figures, deadlocks.judge(atMost(0))), nil
}

// writers are connections that update.
type writers struct {
	bench     *bench
	place     *place
	all       []*writer
	deadlocks map[string]int // by table
}

type writer struct {
	number int
	place  *place
	rows   int
	conn   *pgx.Conn
}

func (b *bench) openWriters(ctx context.Context, p *place, n int) (*writers, error) {
	ws := &writers{bench: b, place: p, deadlocks: make(map[string]int)}
	for i := range n {
		conn, err := connect(ctx, p.url)
		if err != nil {
			ws.close()
			return nil, fmt.Errorf("writer %d: %w", i+1, err)
		}
		ws.all = append(ws.all, &writer{number: i, place: p, rows: b.cfg.Rows, conn: conn})
	}
	return ws, nil
}

func (ws *writers) close() {
	for _, w := range ws.all {
		query.Close(w.conn)
	}
}

// compare runs the workload with n writers on each table in turns.
func (ws *writers) compare(ctx context.Context, load workload, n int) ([]Figure, error) {
	b, p := ws.bench, ws.place
	goal := load.name == singleRow.name && n == goalWriters
	rounds, tables := max(1, b.cfg.Rounds*3/5), p.tables()
	if goal {
		rounds, tables = 2*b.cfg.Rounds-1, append(tables, p.bare())
	}
	rates := make(map[string][]float64)
	for round := range rounds + 1 { // the first one warms up
		step := b.cfg.Step
		if round == 0 {
			step /= 4
		}
		for _, table := range tables {
			rate, err := ws.rate(ctx, load, n, table, step)
			if err != nil {
				return nil, err
			}
			if err := p.drained(ctx); err != nil {
				return nil, err
			}
			if round > 0 {
				rates[table] = append(rates[table], rate)
			}
		}
	}
	name := fmt.Sprintf("%s, %d writers", load.name, n)
	if n == 1 {
		name = load.name + ", 1 writer"
	}
	ours := compare(name, load.unit, rates[oursTable])
	figures := []Figure{ours.beside("no trigger", rates[p.plain()]), ours.beside("plain NOTIFY trigger", rates[p.notify()])}
	if goal {
		figures[0] = figures[0].judge(ratioAtLeast(0.65))
		figures[1] = figures[1].judge(ratioAtLeast(3))
		figures = append(figures, ours.beside("no trigger, no CHECK", rates[p.bare()]))
	}
	b.say("writers: %s: %.0f %s, %.2f of no trigger, %.2f times plain NOTIFY", name, figures[0].Value, load.unit, figures[0].Ratio, figures[1].Ratio)
	return figures, nil
}

// rate runs n writers for one step and returns how many rows they changed per second.
func (ws *writers) rate(ctx context.Context, load workload, n int, table string, step time.Duration) (float64, error) {
	var rows, deadlocks atomic.Int64
	var stop atomic.Bool
	group, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	timer := time.AfterFunc(step, func() { stop.Store(true) })
	defer timer.Stop()
	for _, w := range ws.all[:n] {
		group.Go(func() error {
			for i := rand.N(1000); !stop.Load(); i++ {
				done, err := load.once(w, ctx, table, i)
				if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "40P01" {
					deadlocks.Add(1)
					continue
				}
				if err != nil {
					return err
				}
				rows.Add(int64(done))
			}
			return nil
		})
	}
	err := group.Wait()
	ws.deadlocks[table] += int(deadlocks.Load())
	return float64(rows.Load()) / time.Since(start).Seconds(), err
}

// id is the id of one of the writer's own tasks.
func (w *writer) id(i int) string { return fmt.Sprintf("%sw%d-%d", w.place.prefix, w.number, i%w.rows) }

func (w *writer) one(ctx context.Context, table string, i int) (int, error) {
	_, err := w.conn.Exec(ctx, "UPDATE "+table+" SET progress = $1, message = $2 WHERE id = $3",
		i%101, fmt.Sprint("step ", i), w.id(rand.N(w.rows)))
	return 1, err
}

func (w *writer) many(ctx context.Context, table string, i int) (int, error) {
	first := rand.N(w.rows)
	ids := make([]string, min(bulkRows, w.rows))
	for j := range ids {
		ids[j] = w.id(first + j)
	}
	_, err := w.conn.Exec(ctx, "UPDATE "+table+" SET progress = $1, message = $2 WHERE id = ANY ($3)", i%101, fmt.Sprint("step ", i), ids)
	return len(ids), err
}

// pair changes one task of each of two users, in any order. The tasks belong to this
// writer, but writers share users: a trigger that locked users would deadlock here.
func (w *writer) pair(ctx context.Context, table string, i int) (int, error) {
	sql := "UPDATE " + table + " SET progress = $1, message = $2 WHERE id = $3"
	batch := &pgx.Batch{}
	first := rand.N(w.rows)
	for _, row := range []int{first, first + 1 + rand.N(w.rows-1)} {
		batch.Queue(sql, i%101, fmt.Sprint("step ", i), w.id(row))
	}
	return 1, w.conn.SendBatch(ctx, batch).Close() // a batch is one transaction
}

// listenBare calls handle with the payloads of the plain NOTIFY trigger until stop
// is called.
func listenBare(ctx context.Context, p *place, handle func(payload string)) (stop func(), err error) {
	conn, err := connect(ctx, p.url)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "LISTEN "+p.schema); err != nil {
		query.Close(conn)
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer query.Close(conn)
		for {
			n, err := conn.WaitForNotification(ctx)
			if err != nil {
				return
			}
			handle(n.Payload)
		}
	})
	return func() { cancel(); wg.Wait() }, nil
}
