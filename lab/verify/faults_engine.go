package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/netfault"
	"github.com/taskfeed/taskfeed/lab/verify/actor"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

var engineFaults = []fault{
	{name: "engine-kill-all", says: "kill -9 of all NATS servers, which start again after a second", kind: kindEngine, companion: true, needs: needsEngine(1), paths: []string{"gateway: gap filled", "core: published again"}, begin: killEngine(allNodes)},
	{name: "engine-kill-one", says: "kill -9 of the NATS server that the leader uses; it starts again after 3 s", kind: kindEngine, companion: true, needs: needsEngine(3), begin: killEngine(oneNode)},
	{name: "engine-wipe", says: "all NATS servers end and others that know nothing take their places", kind: kindEngine, companion: true, needs: needsEngine(1), begin: wipeEngine},
	{name: "engine-freeze", says: "SIGSTOP of all NATS servers for 6 s, then SIGCONT", kind: kindEngine, companion: true, needs: needsEngine(1), begin: freezeEngine},
	{name: "engine-partition", says: "nothing passes between the NATS servers for 6 s", kind: kindEngine, companion: true, needs: needsEngine(3), paths: []string{"gateway: gap filled"}, begin: partitionEngine},
	{name: "engine-slow", says: "100 to 200 ms more delay to NATS, and 64 KB/s, for 4 s", kind: kindEngine, companion: true, needs: needsEngine(1), begin: slowEngine},
	{name: "engine-blackhole-gateway", says: "nothing passes between a gateway and NATS for 6 s, and then its connections are reset", kind: kindEngine, companion: true, needs: needsEngine(1), paths: []string{"gateway: gap filled"}, begin: cutOffGateway},
	{name: "engine-blackhole-leader", says: "nothing passes between the leader and NATS for 6 s", kind: kindEngine, companion: true, needs: needsEngine(1), paths: []string{"core: published again"}, begin: cutOffLeader},
	{name: "engine-lost-last", says: "the last event before a silence is lost on its way to a gateway", kind: kindEngine, needs: needsEngine(1), paths: []string{"gateway: gap filled"}, begin: loseLast},
	{name: "leader-freeze-before-publish", says: "SIGSTOP of the leader between a commit and its publication, until another has taken over, then SIGCONT", kind: kindServer, needs: needsEngine(1), paths: []string{"takeover"}, begin: freezeBeforePublish},
	{name: "gateway-kill", says: "kill -9 of a gateway", kind: kindGateway, companion: true, needs: needsEngine(1), begin: killing((*round).gateway)},
	{name: "gateway-freeze", says: "SIGSTOP of a gateway for 3 s, then SIGCONT", kind: kindGateway, companion: true, needs: needsEngine(1), begin: freezing((*round).gateway)},
}

// needsEngine returns what says why a fault of gateways and NATS servers cannot run, ""
// when it can.
func needsEngine(least int) func(*round) string {
	return func(r *round) string {
		switch {
		case !r.private():
			return "gateways run beside a private database only"
		case r.cfg.Engine == "":
			return "there is no NATS server: build lab/natsd beside this program, or name one with --engine"
		case r.cfg.EngineServers < least:
			return fmt.Sprintf("it needs %d NATS servers: --engine-servers %d", least, least)
		}
		return ""
	}
}

// gateway picks one gateway after the other.
func (r *round) gateway(context.Context) (*server, error) {
	return r.gateways[(r.seed+r.picked.Add(1))%uint64(len(r.gateways))], nil
}

// healWithin is how long after the end of a fault gateways may take to have all events:
// time to connect again, to find that something is missing and to ask for it.
const healWithin = 15 * time.Second

// healing has an injection wait after its end until all gateways have every event that
// was in the log by then. If they do not have them in time, the fault has found P11
// broken. Among others, a fault that goes on may be the reason.
func (r *round) healing(d injection, f *history.Fault) injection {
	undo := d.undo
	d.undo = func(ctx context.Context) error {
		if undo != nil {
			if err := undo(ctx); err != nil {
				return err
			}
		}
		if f.Phase == "mixed" {
			return nil
		}
		return r.healed(ctx, f)
	}
	return d
}

func (r *round) healed(ctx context.Context, f *history.Fault) error {
	began := time.Now()
	last, err := one[int64](ctx, r.db, sqlLastEvent)
	if err != nil {
		return err
	}
	err = await(ctx, healWithin, func() error {
		for _, g := range r.gateways {
			if head := g.head(ctx); head < last {
				return fmt.Errorf("%s has events up to %d, and the log up to %d", g.name, head, last)
			}
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		f.Breaks, f.Wrong = "P11", joinText(f.Wrong, "gateways did not catch up: "+err.Error())
		return nil
	}
	f.Detail = joinText(f.Detail, fmt.Sprintf("gateways had all after %v", time.Since(began).Round(time.Millisecond)))
	return err
}

const sqlLastEvent = "SELECT coalesce(max(id), 0) FROM taskfeed.events"

// head returns the last event that a gateway has placed, 0 when it does not answer.
func (s *server) head(ctx context.Context) int64 {
	figures, err := s.metrics(ctx)
	if err != nil {
		return 0
	}
	return int64(figures["taskfeed_relay_head"])
}

// counted is the effect that one of the servers counts more than at this call.
func counted(ctx context.Context, metric, unit string, servers ...*server) effect {
	count := func(ctx context.Context, s *server) float64 {
		figures, err := s.metrics(ctx)
		if err != nil {
			return -1
		}
		return figures[metric]
	}
	before := make([]float64, len(servers))
	for i, s := range servers {
		before[i] = count(ctx, s)
	}
	return func(ctx context.Context) (string, error) {
		for i, s := range servers {
			if n := count(ctx, s) - before[i]; before[i] >= 0 && n > 0 {
				return fmt.Sprintf("%s: %.0f %s", s.name, n, unit), nil
			}
		}
		return "", errors.New("there were no " + unit)
	}
}

// down is the effect that servers have lost the engine.
func down(servers ...*server) effect {
	return func(ctx context.Context) (string, error) {
		for _, s := range servers {
			figures, err := s.metrics(ctx)
			if err != nil {
				return "", err
			}
			if figures["taskfeed_engine_up"] != 0 {
				return "", errors.New(s.name + " is connected to NATS")
			}
		}
		return fmt.Sprintf("%d servers lost NATS", len(servers)), nil
	}
}

func allNodes(_ context.Context, r *round) ([]*node, error) { return r.engine.nodes, nil }

// oneNode returns the node that the leader uses: the first one in its URL, unless it
// failed before.
func oneNode(ctx context.Context, r *round) ([]*node, error) {
	s, err := r.leader(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range r.engine.nodes {
		for _, p := range n.proxies {
			if p.Open() > 0 && slices.Contains(s.engine, p) {
				return []*node{n}, nil
			}
		}
	}
	return nil, errors.New("the leader is not connected to NATS")
}

func killEngine(find func(context.Context, *round) ([]*node, error)) func(context.Context, *round, *history.Fault) (injection, error) {
	return func(ctx context.Context, r *round, f *history.Fault) (injection, error) {
		nodes, err := find(ctx, r)
		if err != nil {
			return injection{}, err
		}
		d := injection{effect: counted(ctx, "taskfeed_engine_reconnects_total", "reconnects", r.gateways...), lasts: 3 * time.Second}
		if len(nodes) == len(r.engine.nodes) {
			d.effect, d.lasts = down(r.gateways...), time.Second
		}
		for _, n := range nodes {
			f.Target = joinText(f.Target, n.name)
			n.process.Kill()
		}
		d.undo = func(context.Context) error {
			var errs []error
			for _, n := range nodes {
				errs = append(errs, n.start())
			}
			return errors.Join(errs...)
		}
		return r.healing(d, f), nil
	}
}

// wipeEngine ends the NATS servers in order, and starts others elsewhere.
func wipeEngine(_ context.Context, r *round, f *history.Fault) (injection, error) {
	for _, n := range r.engine.nodes {
		n.process.Stop(5 * time.Second)
	}
	return r.healing(injection{effect: down(r.gateways...), lasts: 500 * time.Millisecond, undo: func(context.Context) error {
		var errs []error
		for _, n := range r.engine.nodes {
			errs = append(errs, n.replace())
		}
		return errors.Join(errs...)
	}}, f), nil
}

// freezeEngine is felt by who waits for the answer to a ping.
func freezeEngine(_ context.Context, r *round, f *history.Fault) (injection, error) {
	var thaw []func(context.Context) error
	for _, n := range r.engine.nodes {
		thaw = append(thaw, freeze(n.process))
	}
	return r.healing(injection{effect: down(r.gateways...), lasts: 6 * time.Second, undo: func(ctx context.Context) error {
		var errs []error
		for _, f := range thaw {
			errs = append(errs, f(ctx))
		}
		return errors.Join(errs...)
	}}, f), nil
}

func partitionEngine(_ context.Context, r *round, f *history.Fault) (injection, error) {
	var routes []*netfault.Proxy
	for _, n := range r.engine.nodes {
		routes = append(routes, n.routes)
	}
	seen, undo := shaped(holdBoth, routes...)
	return r.healing(injection{effect: seen, lasts: 6 * time.Second, undo: func(ctx context.Context) error {
		for _, p := range routes {
			p.Reset()
		}
		return undo(ctx)
	}}, f), nil
}

// engineLinks returns the proxies of all servers and gateways to NATS, without those
// over which nothing passes.
func (r *round) engineLinks() (links []*netfault.Proxy) {
	for _, s := range r.all() {
		for _, p := range s.engine {
			if p.Open() > 0 {
				links = append(links, p)
			}
		}
	}
	return links
}

func slowEngine(_ context.Context, r *round, f *history.Fault) (injection, error) {
	seen, undo := shaped(late, r.engineLinks()...)
	return r.healing(injection{effect: seen, lasts: 4 * time.Second, undo: undo}, f), nil
}

// holdEngine holds back the bytes between a server and NATS, on whichever of its
// servers. The effect is that some were held.
func holdEngine(s *server, m netfault.Mode) (held effect, release func(context.Context) error) {
	parts := make([]effect, len(s.engine))
	undo := make([]func(context.Context) error, len(s.engine))
	for i, p := range s.engine {
		parts[i], undo[i] = shaped(m, p)
	}
	held = func(ctx context.Context) (what string, err error) {
		for _, part := range parts {
			if what, err = part(ctx); err == nil {
				return what, nil
			}
		}
		return "", err
	}
	return held, func(ctx context.Context) error {
		var errs []error
		for _, f := range undo {
			errs = append(errs, f(ctx))
		}
		return errors.Join(errs...)
	}
}

// resetEngine ends the connections of a server to NATS: what was held back is lost.
func resetEngine(s *server) {
	for _, p := range s.engine {
		p.Reset()
	}
}

// cutOffGateway cuts off a gateway while much is written: it then needs several pages of
// the log. One transaction is more than a message takes.
func cutOffGateway(ctx context.Context, r *round, f *history.Fault) (injection, error) {
	g, err := r.gateway(ctx)
	if err != nil {
		return injection{}, err
	}
	f.Target = g.name
	filled := counted(ctx, "taskfeed_relay_gaps_total", "gaps filled", g)
	held, release := holdEngine(g, holdBoth)
	if err := tell(r.writers[:1], actor.Command{Do: actor.DoHuge, User: r.users[0].ID}); err != nil {
		return injection{undo: release}, err
	}
	return r.healing(injection{effect: held, lasts: 6 * time.Second, undo: func(ctx context.Context) error {
		resetEngine(g)
		if err := release(ctx); err != nil {
			return err
		}
		what, err := eventually(ctx, healWithin, filled)
		f.Detail = joinText(f.Detail, what)
		return err
	}}, f), nil
}

// eventually waits for an effect.
func eventually(ctx context.Context, limit time.Duration, e effect) (what string, err error) {
	err = await(ctx, limit, func() (err error) {
		what, err = e(ctx)
		return err
	})
	return what, err
}

// cutOffLeader holds back what the leader publishes. It arrives late, unless the seed
// resets the link instead.
func cutOffLeader(ctx context.Context, r *round, f *history.Fault) (injection, error) {
	s, err := r.leader(ctx)
	if err != nil {
		return injection{}, err
	}
	f.Target = s.name
	again := counted(ctx, "taskfeed_relay_republished_total", "times published again", s)
	held, release := holdEngine(s, holdBoth)
	return r.healing(injection{effect: all(held, again), lasts: 6 * time.Second, undo: func(ctx context.Context) error {
		if r.seed%2 == 0 {
			resetEngine(s)
		}
		return release(ctx)
	}}, f), nil
}

// loseLast loses the message with the last event before a silence on its way to a
// gateway. No later event shows that it is missing.
func loseLast(ctx context.Context, r *round, f *history.Fault) (d injection, err error) {
	g, err := r.gateway(ctx)
	if err != nil {
		return d, err
	}
	f.Target = g.name
	d.undo = func(context.Context) error { return tell(r.writers, actor.Command{Do: actor.DoPause, On: true}) }
	if err := tell(r.writers, actor.Command{Do: actor.DoPause}); err != nil {
		return d, err
	}
	pause.For(ctx, time.Second)
	if err := r.healed(ctx, f); err != nil {
		return d, err
	}
	held, release := holdEngine(g, holdDown)
	d.undo = func(ctx context.Context) error {
		resetEngine(g)
		return errors.Join(release(ctx), r.healed(ctx, f), tell(r.writers, actor.Command{Do: actor.DoPause, On: true}))
	}
	before := g.head(ctx)
	if err := r.writer.Flurry(ctx, 1); err != nil {
		return d, err
	}
	d.effect = all(held, func(ctx context.Context) (string, error) {
		last, err := one[int64](ctx, r.db, sqlLastEvent)
		if err == nil && last <= before {
			err = errors.New("the last event is not in the log yet")
		}
		return fmt.Sprintf("%s had events up to %d, and the log up to %d", g.name, before, last), err
	})
	return d, nil
}

// freezeBeforePublish holds back what the leader publishes, freezes it once it has
// committed what gateways do not have, and lets its messages through when another has
// taken over.
func freezeBeforePublish(ctx context.Context, r *round, f *history.Fault) (d injection, err error) {
	s, err := r.leader(ctx)
	if err != nil {
		return d, err
	}
	f.Target = s.name
	_, release := holdEngine(s, holdUp)
	d.undo = release
	var last, head int64
	err = await(ctx, patience, func() error {
		head = 0
		for _, g := range r.gateways {
			head = max(head, g.head(ctx))
		}
		if last, err = one[int64](ctx, r.db, sqlLastEvent); err == nil && last <= head {
			err = errors.New("gateways have all that committed")
		}
		return err
	})
	if err != nil {
		return d, err
	}
	p := s.current()
	p.Signal(syscall.SIGSTOP)
	d.effect = all(happened("gateways had events up to %d, and the log up to %d", head, last), r.succeeded(s))
	d.lasts = stallTimeout
	d.undo = func(ctx context.Context) error {
		err := release(ctx)
		p.Signal(syscall.SIGCONT)
		return err
	}
	return r.healing(d, f), nil
}
