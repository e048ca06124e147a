package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taskfeed/taskfeed/lab/query"
)

const bareServerName = "bare LISTEN server"

// measureFanout measures how long one event takes to the last of many
// connections, and what a steady stream of events to many users costs, beside a
// server that only LISTENs and writes.
func measureFanout(ctx context.Context, b *bench, p *place) ([]Figure, error) {
	var figures []Figure
	for _, n := range b.cfg.Audience {
		n = b.connections(n)
		ours, err := b.shots(ctx, p, n, b.serve)
		if err != nil {
			return figures, err
		}
		bare, err := b.shots(ctx, p, n, b.serveBare)
		if err != nil {
			return figures, err
		}
		last := compare(fmt.Sprintf("1 event to %d connections, time to the last", n), "ms", ours.last).lower().beside(bareServerName, bare.last)
		if n >= 10_000 {
			last = last.judge(atMost(250))
		}
		b.say("fanout: %s: %.0f ms, %s %.0f ms", last.Name, last.Value, bareServerName, last.Base)
		figures = append(figures, last)
		if len(ours.cpu) > 0 && len(bare.cpu) > 0 {
			figures = append(figures, compare(fmt.Sprintf("server CPU for each delivery of 1 event to %d", n), "µs", ours.cpu).lower().beside(bareServerName, bare.cpu))
		}
	}
	more, err := b.stream(ctx, p)
	return append(figures, more...), err
}

// shots are the results of single events to all connections.
type shots struct {
	last []float64 // ms until the last connection had the event, for each shot
	cpu  []float64 // µs of server CPU for each delivery, one value over all shots
}

// shots opens n connections to a server and repeatedly sends one event to all of
// them.
func (b *bench) shots(ctx context.Context, p *place, n int, serve func(context.Context, *place) (*server, error)) (result shots, err error) {
	s, err := serve(ctx, p)
	if err != nil {
		return result, err
	}
	defer s.stop()
	b.say("fanout: opening %d connections", n)
	t := b.newTally()
	feeds, err := s.openFeeds(ctx, n, func(i int) string {
		if p.own || s.sends != "" {
			return p.crowd() // other users of the database must not get the event
		}
		return fmt.Sprint(p.prefix, "c", i)
	}, t.arrive)
	if err != nil {
		return result, err
	}
	defer feeds.close()
	conn, err := connect(ctx, p.url)
	if err != nil {
		return result, err
	}
	defer query.Close(conn)
	if s.sends != "" {
		if _, err := conn.Exec(ctx, sqlAppPath); err != nil {
			return result, err
		}
	}
	rounds := 2 * b.cfg.Rounds
	var before time.Duration
	for shot := range rounds + 1 { // the first one warms up
		if shot == 1 {
			before, err = s.cpu()
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return result, err
		}
		t.begin()
		sql, arg := p.shot(s, b.stamp(time.Now()))
		if _, err := conn.Exec(ctx, sql, arg); err != nil {
			return result, err
		}
		if err := t.wait(ctx, n); err != nil {
			return result, feeds.explain(err)
		}
		if shot > 0 {
			result.last = append(result.last, float64(t.toLast().Microseconds())/1000)
		}
	}
	after, more := s.cpu()
	if err == nil && more == nil { // else this system cannot measure it
		result.cpu = []float64{float64((after - before).Microseconds()) / float64(rounds*n)}
	}
	return result, nil
}

// shot is the statement that sends one event to all connections of the server.
func (p *place) shot(s *server, stamp string) (sql, arg string) {
	event := map[string]string{"at": stamp}
	sql = "SELECT taskfeed.broadcast('bench.shot', $1::text::jsonb)"
	if p.own {
		sql = "SELECT taskfeed.notify('" + p.crowd() + "', 'bench.shot', $1::text::jsonb)"
	}
	if s.sends != "" {
		sql = s.sends
	}
	if s.bare {
		sql = "SELECT pg_notify('" + p.schema + "', $1)"
		if p.own {
			event["user_id"] = p.crowd()
		}
	}
	text, _ := json.Marshal(event) // cannot fail
	return sql, string(text)
}

const (
	streamRate  = 10 // events a second for each user
	streamTick  = 10 * time.Millisecond
	streamConns = 4
)

// sqlStreamTasks gives each user one task.
const sqlStreamTasks = `
INSERT INTO {table} (id, user_id, status, message)
SELECT '{prefix}s' || i, '{prefix}s' || i, 'running', 'step'
FROM generate_series(0, {last}) AS i`

// stream sends many users some events a second each.
func (b *bench) stream(ctx context.Context, p *place) ([]Figure, error) {
	users := b.cfg.StreamUsers
	user := func(i int) string { return fmt.Sprint(p.prefix, "s", i) }
	variants := []struct {
		table string
		serve func(context.Context, *place) (*server, error)
	}{{p.notify(), b.serveBare}, {oursTable, b.serve}}
	servers, tallies, clients := make([]*server, len(variants)), make([]*tally, len(variants)), make([]*feeds, len(variants))
	for i, v := range variants {
		s, err := v.serve(ctx, p)
		if err != nil {
			return nil, err
		}
		defer s.stop()
		sql := strings.NewReplacer("{table}", v.table, "{prefix}", p.prefix, "{last}", fmt.Sprint(users-1)).Replace(sqlStreamTasks)
		if err := query.Script(ctx, at(p.url), sql); err != nil {
			return nil, err
		}
		if err := p.drained(ctx); err != nil {
			return nil, err
		}
		servers[i], tallies[i] = s, b.newTally()
		if clients[i], err = s.openFeeds(ctx, users, user, tallies[i].arrive); err != nil {
			return nil, err
		}
		defer clients[i].close()
	}
	ws, err := b.openWriters(ctx, p, streamConns)
	if err != nil {
		return nil, err
	}
	defer ws.close()
	var p50, p99, cpu [2][]float64
	for range b.cfg.Rounds {
		for i, v := range variants {
			micros, err := ws.stream(ctx, servers[i], tallies[i], v.table)
			if err != nil {
				return nil, fmt.Errorf("stream of %s: %w", v.table, clients[i].explain(err))
			}
			p50[i] = append(p50[i], tallies[i].quantile(50))
			p99[i] = append(p99[i], tallies[i].quantile(99))
			if micros > 0 {
				cpu[i] = append(cpu[i], micros)
			}
		}
	}
	name := fmt.Sprintf("%d users × %d events/s", users, streamRate)
	figures := []Figure{
		compare(name+", p50", "ms", p50[1]).lower().beside(bareServerName, p50[0]),
		compare(name+", p99", "ms", p99[1]).lower().beside(bareServerName, p99[0]),
	}
	if len(cpu[0]) > 0 && len(cpu[1]) > 0 {
		figures = append(figures, compare(name+", server CPU for each delivery", "µs", cpu[1]).lower().beside(bareServerName, cpu[0]))
	}
	for _, f := range figures {
		b.say("fanout: %s: %.2f %s, %s %.2f", f.Name, f.Value, f.Unit, bareServerName, f.Base)
	}
	return figures, nil
}

// stream updates for some steps, a part of the users at each tick, and returns the
// server's CPU time for each delivery in microseconds, 0 where that is not known.
func (ws *writers) stream(ctx context.Context, s *server, t *tally, table string) (micros float64, err error) {
	b, p := ws.bench, ws.place
	ticks := max(1, int(2*b.cfg.Step/streamTick))
	each := max(1, b.cfg.StreamUsers*streamRate*int(streamTick)/int(time.Second))
	before, noCPU := s.cpu()
	t.begin()
	group, updating := errgroup.WithContext(ctx)
	start := time.Now()
	for _, w := range ws.all {
		group.Go(func() error {
			for tick := w.number; tick < ticks; tick += len(ws.all) {
				due := start.Add(time.Duration(tick) * streamTick)
				if err := sleep(updating, time.Until(due)); err != nil {
					return err
				}
				ids := make([]string, each)
				for i := range ids {
					ids[i] = fmt.Sprint(p.prefix, "s", (tick*each+i)%b.cfg.StreamUsers)
				}
				sql := "UPDATE " + table + " SET progress = $1, message = $2 WHERE id = ANY ($3)"
				if _, err := w.conn.Exec(updating, sql, tick%101, b.stamp(due), ids); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	if err := t.wait(ctx, ticks*each); err != nil {
		return 0, err
	}
	after, more := s.cpu()
	if noCPU != nil || more != nil {
		return 0, nil
	}
	return float64((after - before).Microseconds()) / float64(ticks*each), nil
}
