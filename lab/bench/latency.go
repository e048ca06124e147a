package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// pace is the rate of updates: a number per second, or as fast as the writers can.
type pace struct {
	rate    int // 0: flat out
	writers int
	name    string // of a rate that was measured
}

func (r pace) String() string {
	switch {
	case r.name != "":
		return r.name
	case r.rate == 0:
		return fmt.Sprintf("flat out, %d writers", r.writers)
	}
	return fmt.Sprintf("at %d/s", r.rate)
}

var paces = []pace{{rate: 50, writers: 1}, {rate: 1000, writers: 8}, {rate: 0, writers: goalWriters}}

// measureLatency compares the time from when an update was due to when a client
// has its event: over a connection that LISTENs with the payload inside NOTIFY, over a
// WebSocket to the leading server, and over one to a following server. All events
// belong to one user.
func measureLatency(ctx context.Context, b *bench, p *place) ([]Figure, error) {
	leader, err := b.serve(ctx, p)
	if err != nil {
		return nil, err
	}
	defer leader.stop()
	if err := p.fillOne(ctx, goalWriters, b.cfg.Rows); err != nil {
		return nil, err
	}
	l := &latencies{bench: b, place: p, tally: b.newTally()}
	if l.writers, err = b.openWriters(ctx, p, goalWriters); err != nil {
		return nil, err
	}
	defer l.writers.close()
	stopListening, err := listenBare(ctx, p, func(payload string) { l.tally.arrive([]byte(payload)) })
	if err != nil {
		return nil, err
	}
	defer stopListening()
	figures, err := l.through(ctx, leader, "leading", b.cfg.Rounds)
	if err != nil {
		return figures, err
	}
	follower, err := b.serve(ctx, p)
	if err != nil {
		return figures, err
	}
	defer follower.stop()
	more, err := l.through(ctx, follower, "following", max(1, b.cfg.Rounds*3/5))
	return append(figures, more...), err
}

type latencies struct {
	bench   *bench
	place   *place
	tally   *tally
	writers *writers

	flatOut []float64 // updates/s of the table with the plain NOTIFY trigger, in each round
}

// through measures all paces with a client of one server, and then the rate at which the
// plain NOTIFY trigger was saturated.
func (l *latencies) through(ctx context.Context, s *server, role string, rounds int) ([]Figure, error) {
	feeds, err := s.openFeeds(ctx, 1, func(int) string { return l.place.oneUser() }, l.tally.arrive)
	if err != nil {
		return nil, err
	}
	defer feeds.close()
	var figures []Figure
	l.flatOut = nil
	for i := range len(paces) + 1 {
		r := l.pace(i)
		more, err := l.compare(ctx, r, []string{l.place.notify(), oursTable}, rounds)
		if err != nil {
			return figures, fmt.Errorf("%s server, %v: %w", role, r, feeds.explain(err))
		}
		name := fmt.Sprintf("update to client of the %s server, %v", role, r)
		p50 := more.p50[oursTable]
		median := compare(name+", p50", "ms", p50).lower().beside("bare LISTEN with payload", more.p50[l.place.notify()])
		worst := compare(name+", p99", "ms", more.p99[oursTable]).lower().beside("bare LISTEN with payload", more.p99[l.place.notify()])
		switch {
		case role == "leading" && r.rate == 50:
			median = median.judge(ratioAtMost(1.6))
		case role == "leading" && r.rate == 0:
			median = median.judge(ratioAtMost(1))
		}
		l.bench.say("latency: %s: %.2f ms, %.2f times bare LISTEN", median.Name, median.Value, median.Ratio)
		figures = append(figures, median, worst)
	}
	return figures, nil
}

// pace is the one with a number. The last one follows from what those before it measured.
func (l *latencies) pace(i int) pace {
	if i < len(paces) {
		return paces[i]
	}
	return pace{rate: max(1, int(median(l.flatOut))), writers: goalWriters, name: "at the rate that saturates the plain NOTIFY trigger"}
}

type quantiles struct{ p50, p99 map[string][]float64 }

// compare updates the tables in turns.
func (l *latencies) compare(ctx context.Context, r pace, tables []string, rounds int) (quantiles, error) {
	q := quantiles{make(map[string][]float64), make(map[string][]float64)}
	for round := range rounds + 1 { // the first one warms up
		step := 2 * l.bench.cfg.Step
		if round == 0 {
			step /= 4
		}
		for _, table := range tables {
			sent, err := l.once(ctx, table, r, step)
			if err != nil {
				return q, err
			}
			if round > 0 {
				if r.rate == 0 && table == l.place.notify() {
					l.flatOut = append(l.flatOut, float64(sent)/step.Seconds())
				}
				q.p50[table] = append(q.p50[table], l.tally.quantile(50))
				q.p99[table] = append(q.p99[table], l.tally.quantile(99))
			}
		}
	}
	return q, nil
}

// once updates for one step and waits until all events have arrived. It returns how many
// there were.
func (l *latencies) once(ctx context.Context, table string, r pace, step time.Duration) (int, error) {
	l.tally.begin()
	var sent atomic.Int64
	group, updating := errgroup.WithContext(ctx)
	start := time.Now()
	for _, w := range l.writers.all[:r.writers] {
		group.Go(func() error {
			n, err := w.keep(updating, l.bench, table, r, start, step)
			sent.Add(int64(n))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	n := int(sent.Load())
	return n, l.tally.wait(ctx, n)
}

// keep sends this writer's part of the updates of a pace for one step and returns
// how many there were.
func (w *writer) keep(ctx context.Context, b *bench, table string, r pace, start time.Time, step time.Duration) (int, error) {
	sql := "UPDATE " + table + " SET progress = $1, message = $2 WHERE id = $3"
	for i := 0; ; i++ {
		due := time.Now()
		if r.rate > 0 {
			due = start.Add(time.Duration(i*r.writers+w.number) * time.Second / time.Duration(r.rate))
		}
		if due.Sub(start) >= step && i > 0 {
			return i, nil
		}
		if err := sleep(ctx, time.Until(due)); err != nil {
			return i, err
		}
		if _, err := w.conn.Exec(ctx, sql, i%101, b.stamp(due), w.id(i)); err != nil {
			return i, err
		}
	}
}
