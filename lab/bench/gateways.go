package bench

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/taskfeed/taskfeed/relay/natsrelay"
)

// engineReason is why gateways are measured in a private Postgres alone.
const engineReason = "a server that leads another's database does not publish to the NATS of this run"

// engine is a NATS server of the run.
type engine struct {
	*server
	url string
}

// startEngine starts NATS. Without the program it notes that name was left out, and
// returns nil.
func (b *bench) startEngine(ctx context.Context, name string) (*engine, error) {
	if b.cfg.Engine == "" {
		b.note("%s was left out: build NATS with make bin/natsd, or name a server with --engine", name)
		return nil, nil
	}
	clients, err := freeAddress()
	if err != nil {
		return nil, err
	}
	monitor, err := freeAddress()
	if err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(clients)
	_, web, _ := net.SplitHostPort(monitor)
	s, err := b.startAt(ctx, monitor, b.cfg.Engine, []string{"-a", host, "-p", port, "-m", web, "-l", os.DevNull}, "/healthz", nil)
	if err != nil {
		return nil, err
	}
	return &engine{s, "nats://" + clients}, nil
}

// serveCore is serve with the engine, and further settings.
func (b *bench) serveCore(ctx context.Context, p *place, e *engine, settings ...string) (*server, error) {
	return b.serveWith(ctx, p, append(settings, "TASKFEED_ENGINE_URL="+e.url)...)
}

// serveGateway starts "taskfeed gateway" and waits until it is ready. Its clients share the
// machine: it is no news when they answer a ping late.
func (b *bench) serveGateway(ctx context.Context, e *engine, settings ...string) (*server, error) {
	return b.start(ctx, b.cfg.Binary, []string{"gateway"}, "/readyz", func(host, port string) []string {
		return append([]string{"TASKFEED_ENGINE_URL=" + e.url, "TASKFEED_JWT_SECRET=" + benchSecret, "TASKFEED_ADDR=" + host, "PORT=" + port,
			"TASKFEED_LOG_LEVEL=error", "TASKFEED_DRAIN=0s", "TASKFEED_PONG_TIMEOUT=1m", "TASKFEED_MAX_CONNECTIONS=off", "TASKFEED_MAX_CONNECTIONS_PER_USER=off", "TASKFEED_METRICS_USERS=off"}, settings...)
	})
}

// connect connects this process to the engine, as a gateway does.
func (e *engine) connect(ctx context.Context) (*natsrelay.Transport, error) {
	return natsrelay.Connect(ctx, natsrelay.Config{URLs: e.url, Name: "taskfeed-lab bench"})
}

// measureGateways measures what users of a gateway get: how long an update takes to them,
// also when its message is lost on the way, and what the gateway's part in the log costs.
func measureGateways(ctx context.Context, b *bench, p *place) ([]Figure, error) {
	e, err := b.startEngine(ctx, "gateways")
	if e == nil {
		return nil, err
	}
	defer e.stop()
	var figures []Figure
	for _, part := range []func(context.Context, *place, *engine) ([]Figure, error){b.gatewayLatency, b.losses, b.taking} {
		more, err := part(ctx, p, e)
		figures = append(figures, more...)
		if err != nil {
			return figures, err
		}
	}
	return figures, nil
}

// Where the client of gatewayLatency is.
const (
	onLeader   = "of the leading server"
	onFollower = "of a following server"
	onGateway  = "of a gateway"
)

// gatewayLatency compares the time from when an update was due to when a client of a
// gateway has its event with that to clients of servers with the database. In its turn,
// each server runs alone beside the leading one.
func (b *bench) gatewayLatency(ctx context.Context, p *place, e *engine) ([]Figure, error) {
	leader, err := b.serveCore(ctx, p, e)
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
	serve := map[string]func() (*server, error){
		onFollower: func() (*server, error) { return b.serve(ctx, p) },
		onGateway:  func() (*server, error) { return b.serveGateway(ctx, e) },
	}
	times := make(map[string]quantiles) // by pace
	for range max(1, b.cfg.Rounds*3/5) {
		for _, where := range []string{onLeader, onFollower, onGateway} {
			s := leader
			if serve[where] != nil {
				if s, err = serve[where](); err != nil {
					return nil, err
				}
			}
			err := l.turn(ctx, s, where, times)
			if s != leader {
				s.stop()
			}
			if err != nil {
				return nil, fmt.Errorf("client %s: %w", where, err)
			}
		}
	}
	var figures []Figure
	for _, r := range gatewayPaces {
		of := times[r.String()]
		for _, base := range []string{onFollower, onLeader} {
			p50 := compare(fmt.Sprintf("update to client %s, %v, p50", onGateway, r), "ms", of.p50[onGateway]).lower().beside("to client "+base, of.p50[base])
			p99 := compare(fmt.Sprintf("update to client %s, %v, p99", onGateway, r), "ms", of.p99[onGateway]).lower().beside("to client "+base, of.p99[base])
			if base == onFollower && r.rate == 50 {
				p50 = p50.judge(ratioAtMost(1))
			}
			b.say("gateways: %s: %.2f ms, %.2f times that %s", p50.Name, p50.Value, p50.Ratio, base)
			figures = append(figures, p50, p99)
		}
	}
	return figures, nil
}

var gatewayPaces = []pace{{rate: 50, writers: 1}, {rate: 1000, writers: 8}}

// turn measures a client of one server at each pace, and adds to times.
func (l *latencies) turn(ctx context.Context, s *server, where string, times map[string]quantiles) error {
	open, err := s.openFeeds(ctx, 1, func(int) string { return l.place.oneUser() }, l.tally.arrive)
	if err != nil {
		return err
	}
	defer open.close()
	step := l.bench.cfg.Step
	for _, r := range gatewayPaces {
		for _, during := range []time.Duration{step / 4, 2 * step} { // the first one warms up
			if _, err := l.once(ctx, oursTable, r, during); err != nil {
				return open.explain(err)
			}
		}
		q, ok := times[r.String()]
		if !ok {
			q = quantiles{make(map[string][]float64), make(map[string][]float64)}
			times[r.String()] = q
		}
		q.p50[where] = append(q.p50[where], l.tally.quantile(50))
		q.p99[where] = append(q.p99[where], l.tally.quantile(99))
	}
	return nil
}
