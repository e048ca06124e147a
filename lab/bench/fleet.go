package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/taskfeed/taskfeed/lab/crowd"
	"github.com/taskfeed/taskfeed/lab/query"
)

const (
	perGateway = 50_000   // connections, where a process may have so many files
	perClient  = 40 << 10 // bytes of memory for a connection: of gateway, kernel and client, with room
	fleetShots = 5
	fleetRate  = 50 // events a second for single users
	// memoryGoalFrom is how many connections a gateway needs until what Go's collector keeps
	// in reserve is small beside them.
	memoryGoalFrom = 5000
	openTime       = 10 * time.Minute
	returnTime     = 5 * time.Minute
	quietFigure    = "transactions a second in Postgres"
)

// fleet is a core, gateways, and clients that are connected to the gateways.
type fleet struct {
	bench    *bench
	place    *place
	core     *server
	engine   *engine
	gateways []*server
	clients  *crowds
	conn     *pgx.Conn
	figures  []Figure
}

// gatewaysFor returns how many gateways n connections take, each of which may have so many
// files, when one of them can die.
func gatewaysFor(n, files int) int {
	g := max(2, (n-1)/perGateway+1)
	for (n-1)/(g-1)+1 > files {
		g++
	}
	return g
}

// measureFleet measures many connections to gateways: their memory and CPU, one event to
// all of them, and what happens when a gateway is killed.
func measureFleet(ctx context.Context, b *bench, p *place) (figures []Figure, err error) {
	if runtime.GOOS != "linux" {
		b.note("fleet was left out: %v", errNoLinux)
		return nil, nil
	}
	n, err := b.fleetSize()
	if n == 0 || err != nil {
		return nil, err
	}
	e, err := b.startEngine(ctx, "fleet")
	if e == nil {
		return nil, err
	}
	defer e.stop()
	f := &fleet{bench: b, place: p, engine: e}
	defer f.stop()
	if f.core, err = b.serveCore(ctx, p, e); err != nil {
		return nil, err
	}
	if f.conn, err = connect(ctx, p.url); err != nil {
		return nil, err
	}
	defer query.Close(f.conn)
	before, err := f.transactions(ctx)
	if err != nil {
		return nil, err
	}
	if err := f.open(ctx, n); err != nil {
		return f.figures, err
	}
	for _, part := range []func(context.Context) error{
		func(ctx context.Context) error { return f.quiet(ctx, before) }, f.steady, f.broadcast, f.lose,
		func(context.Context) error { return f.clients.check() },
	} {
		if err := part(ctx); err != nil {
			return f.figures, err
		}
	}
	return f.figures, nil
}

// fleetSize returns how many connections there will be, as far as files and memory allow.
func (b *bench) fleetSize() (int, error) {
	n := b.cfg.Connections
	if files := filesPerProcess(); files < 2000 && n > 10*files {
		b.note("fleet: only %d connections in place of %d: a process may open %d files here (ulimit -n)", 10*files, n, files+spareFiles)
		n = 10 * files
	}
	if free, ok := memoryFree(); ok && float64(n)*perClient > free {
		fit := int(free / perClient)
		b.note("fleet: only %d connections in place of %d: %.1f GB of memory are free", fit, n, free/(1<<30))
		n = fit
	}
	return n, nil
}

func (f *fleet) stop() {
	if f.clients != nil {
		f.clients.stop()
	}
	for _, g := range f.gateways {
		g.stop()
	}
	if f.core != nil {
		f.core.stop()
	}
}

func (f *fleet) add(figure Figure) {
	f.bench.say("fleet: %s: %.2f %s", figure.Name, figure.Value, figure.Unit)
	f.figures = append(f.figures, figure)
}

// named says how many there are of what.
func (f *fleet) named() string {
	return fmt.Sprintf("%d connections of %d gateways", f.clients.want, len(f.gateways))
}

// open starts the gateways, connects the clients, and measures what they cost while
// nothing happens, beside gateways without connections.
func (f *fleet) open(ctx context.Context, n int) error {
	b := f.bench
	count := gatewaysFor(n, filesPerProcess())
	for range count {
		g, err := b.serveGateway(ctx, f.engine)
		if err != nil {
			return err
		}
		f.gateways = append(f.gateways, g)
	}
	alone, err := f.busy(ctx, b.cfg.IdleTime/4)
	if err != nil {
		return err
	}
	before, err := f.memory()
	if err != nil {
		return err
	}
	if err := f.connect(ctx, n); err != nil {
		return err
	}
	busy, memory, err := f.idle(ctx)
	if err != nil {
		return err
	}
	each := compare("memory of gateways for each of "+f.named(), "KB", []float64{(memory - before) / float64(n) / 1024}).lower()
	if n/count >= memoryGoalFrom {
		each = each.judge(atMost(8))
	}
	f.add(each)
	f.add(compare("CPU of gateways for "+f.named()+", pinged every 25 s", "% of a core", []float64{busy}).lower().beside("without connections", []float64{alone}))
	return nil
}

// connect connects n clients to the gateways.
func (f *fleet) connect(ctx context.Context, n int) (err error) {
	b, count := f.bench, len(f.gateways)
	b.say("fleet: %d connections to %d gateways of %d each", n, count, n/count)
	if f.clients, err = b.startCrowds(ctx, f.place, f.gateways, n); err != nil {
		return err
	}
	began := time.Now()
	if err := f.clients.post("/open"); err != nil {
		return err
	}
	state, err := f.clients.await(ctx, openTime, "all clients to be live", f.allLive)
	if err != nil {
		return err
	}
	took := time.Unix(0, state.LastLive).Sub(began)
	f.add(compare(fmt.Sprintf("clients that connect to %d gateways", count), "/s", []float64{float64(n) / took.Seconds()}))
	return nil
}

// idle returns how many percent of a core the gateways use while nothing happens, and how
// much memory.
func (f *fleet) idle(ctx context.Context) (busy, memory float64, err error) {
	during := f.bench.cfg.IdleTime
	if memory, err = f.leastMemory(ctx, min(settle, 10*f.bench.cfg.Step)); err != nil {
		return 0, 0, err
	}
	if err := sleep(ctx, min(settle, during)); err != nil { // the first pings come after half an interval
		return 0, 0, err
	}
	if busy, err = f.busy(ctx, during); err != nil {
		return 0, 0, err
	}
	later, err := f.memory()
	return busy, min(memory, later), err
}

func (f *fleet) allLive(s crowd.State) bool { return s.Live == f.clients.want }

// memory is that of all gateways.
func (f *fleet) memory() (sum float64, err error) {
	for _, g := range f.gateways {
		one, err := g.memory()
		if err != nil {
			return 0, err
		}
		sum += one
	}
	return sum, nil
}

// leastMemory is the sum of the least that each gateway has during the time.
func (f *fleet) leastMemory(ctx context.Context, during time.Duration) (sum float64, err error) {
	least := make([]float64, len(f.gateways))
	group, ctx := errgroup.WithContext(ctx)
	for i, g := range f.gateways {
		group.Go(func() (err error) {
			least[i], err = g.leastMemory(ctx, during)
			return err
		})
	}
	err = group.Wait()
	for _, one := range least {
		sum += one
	}
	return sum, err
}

func (f *fleet) cpu() (sum time.Duration, err error) {
	for _, g := range f.gateways {
		one, err := g.cpu()
		if err != nil {
			return 0, err
		}
		sum += one
	}
	return sum, nil
}

// busy is how many percent of a core all gateways use during the time.
func (f *fleet) busy(ctx context.Context, during time.Duration) (float64, error) {
	before, err := f.cpu()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := sleep(ctx, during); err != nil {
		return 0, err
	}
	after, err := f.cpu()
	return 100 * float64(after-before) / float64(time.Since(began)), err
}

// sqlTransactions is the number of transactions in the database. Connections report
// theirs at most a second later.
const sqlTransactions = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"

// transactions returns how many transactions a second there are while no app writes.
func (f *fleet) transactions(ctx context.Context) (float64, error) {
	if err := sleep(ctx, min(2*time.Second, f.bench.cfg.IdleTime)); err != nil { // what was before is reported
		return 0, err
	}
	count := func() (n float64, err error) {
		err = f.conn.QueryRow(ctx, sqlTransactions).Scan(&n)
		return n, err
	}
	before, err := count()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := sleep(ctx, f.bench.cfg.IdleTime/2); err != nil {
		return 0, err
	}
	after, err := count()
	return (after - before) / time.Since(began).Seconds(), err
}

// quiet measures what the gateways have the database do while nothing happens.
func (f *fleet) quiet(ctx context.Context, before float64) error {
	now, err := f.transactions(ctx)
	if err != nil {
		return err
	}
	f.bench.say("fleet: %s: %.1f without gateways, %.1f with them", quietFigure, before, now)
	f.add(compare(quietFigure+" because of "+f.named(), "/s", []float64{max(0, now-before)}).lower().judge(atMost(1)))
	return nil
}

// reads is how often the gateways asked for a part of the log, for connections or to fill
// gaps.
func (f *fleet) reads() (sum float64, err error) {
	for _, g := range f.gateways {
		for _, name := range []string{"taskfeed_log_reads_total", "taskfeed_relay_gaps_total"} {
			one, err := g.metric(name)
			if err != nil {
				return 0, err
			}
			sum += one
		}
	}
	return sum, nil
}

// steady has an app send events to single clients, and counts what is read of the log for
// gateways.
func (f *fleet) steady(ctx context.Context) error {
	before, err := f.reads()
	if err != nil {
		return err
	}
	if err := f.clients.post("/reset"); err != nil {
		return err
	}
	sent, err := f.work(ctx, f.bench.cfg.IdleTime/2)
	if err != nil {
		return err
	}
	if _, err := f.clients.await(ctx, returnTime, "all events", func(s crowd.State) bool { return s.Events >= sent }); err != nil {
		return f.explain(ctx, err)
	}
	after, err := f.reads()
	if err != nil {
		return err
	}
	f.add(compare(fmt.Sprintf("reads of the log for gateways, %d events/s to single users among %s", fleetRate, f.named()), "reads", []float64{after - before}).lower().judge(atMost(0)))
	return nil
}

// explain adds how far the core and the gateways are to an error about events that did not
// come.
func (f *fleet) explain(ctx context.Context, err error) error {
	last, _ := f.place.lastID(ctx)
	core, _ := f.core.metric("taskfeed_head")
	err = fmt.Errorf("%w; the log ends at %d, the core is at %.0f", err, last, core)
	for _, g := range f.gateways {
		head, _ := g.metric("taskfeed_relay_head")
		err = fmt.Errorf("%w, a gateway at %.0f", err, head)
	}
	return err
}

// work sends events to single clients for some time, and returns how many.
func (f *fleet) work(ctx context.Context, during time.Duration) (sent int, err error) {
	began := time.Now()
	for due := began; time.Since(began) < during; due = due.Add(time.Second / fleetRate) {
		if err := sleep(ctx, time.Until(due)); err != nil {
			return sent, err
		}
		user := fmt.Sprint(f.place.prefix, "c", rand.N(f.clients.want))
		if _, err := f.conn.Exec(ctx, "SELECT taskfeed.notify($1, 'bench.work', '{\"text\": \"as long as a step\"}')", user); err != nil {
			return sent, err
		}
		sent++
	}
	return sent, nil
}

// broadcast sends one event to all, several times.
func (f *fleet) broadcast(ctx context.Context) error {
	var last, cpu []float64
	for shot := range min(fleetShots, f.bench.cfg.Rounds) + 1 { // the first one warms up
		before, err := f.cpu()
		if err != nil {
			return err
		}
		took, err := f.shot(ctx)
		if err != nil {
			return err
		}
		after, err := f.cpu()
		if err != nil {
			return err
		}
		if shot > 0 {
			last, cpu = append(last, millis(took)), append(cpu, float64((after-before).Microseconds())/float64(f.clients.want))
		}
	}
	f.add(compare("1 event to "+f.named()+", time to the last", "ms", last).lower())
	f.add(compare("CPU of gateways for each delivery of 1 event to "+f.named(), "µs", cpu).lower())
	return nil
}

// shot sends one event to all and returns how long the last client waits for it.
func (f *fleet) shot(ctx context.Context) (time.Duration, error) {
	if err := f.clients.post("/reset"); err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := f.conn.Exec(ctx, "SELECT taskfeed.broadcast('bench.shot')"); err != nil {
		return 0, err
	}
	state, err := f.clients.await(ctx, returnTime, "an event to all clients", func(s crowd.State) bool { return s.Events >= f.clients.want })
	if err == nil && state.Events > f.clients.want {
		err = fmt.Errorf("%d events came to %d clients", state.Events, f.clients.want)
	}
	return time.Unix(0, state.LastEvent).Sub(began), err
}

// lose kills a gateway while an app sends events to its clients and others, and waits
// until all are live again.
func (f *fleet) lose(ctx context.Context) error {
	dead := f.gateways[0]
	homeless, err := dead.metric("taskfeed_connections")
	if err != nil {
		return err
	}
	f.gateways = f.gateways[1:]
	before, err := f.reads()
	if err != nil {
		return err
	}
	was, err := f.clients.state()
	if err != nil {
		return err
	}
	if err := f.clients.post("/reset"); err != nil {
		return err
	}
	began := time.Now()
	dead.proc.Signal(syscall.SIGKILL)
	working, stop := context.WithCancel(ctx)
	defer stop()
	var sent int
	var app errgroup.Group
	app.Go(func() (err error) {
		sent, err = f.work(working, returnTime)
		if working.Err() != nil {
			return nil
		}
		return err
	})
	state, err := f.clients.await(ctx, returnTime, "the clients of the killed gateway to be live on others", func(s crowd.State) bool {
		return s.Lost-was.Lost >= int(homeless) && f.allLive(s)
	})
	stop()
	if err := errors.Join(err, app.Wait()); err != nil {
		return err
	}
	after, err := f.reads()
	if err != nil {
		return err
	}
	if _, err := f.clients.await(ctx, returnTime, "the events that were sent meanwhile", func(s crowd.State) bool { return s.Events >= sent }); err != nil {
		return f.explain(ctx, err)
	}
	took := time.Unix(0, state.LastLive).Sub(began)
	of := fmt.Sprintf("%.0f clients of a killed gateway", homeless)
	f.add(compare(of+", until the last is live on another", "ms", []float64{millis(took)}).lower())
	f.add(compare("reads of the log for "+of, "% of them", []float64{100 * (after - before) / homeless}).lower().judge(atMost(1)))
	return nil
}
