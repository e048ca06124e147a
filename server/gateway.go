package server

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/internal/logs"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/internal/service"
	"github.com/taskfeed/taskfeed/relay"
	"github.com/taskfeed/taskfeed/relay/natsrelay"
	"github.com/taskfeed/taskfeed/web"
)

// GatewayConfig says what a gateway works with. Relay.Engine.URLs and keys in Tokens are
// needed; the zero value of every other field is its default.
type GatewayConfig struct {
	// Relay names the engine and the prefix, which are those of the cores.
	Relay RelayConfig
	// Hub has the limits of connections and of memory. Hub.MaxReplays bounds the questions
	// to cores at the same time.
	Hub hub.Config
	// Tokens has the keys of the JWTs that callers show.
	Tokens auth.Config
	// HTTP has the limits and times of requests, and where to listen.
	HTTP httpapi.Config
	// Log is where the gateway logs, without tokens. Default: slog.Default().
	Log *slog.Logger
	// Version is what /healthz and /metrics show. Default: as for Config.
	Version string
}

// Gateway serves feeds without a database: it hears the log from cores over an engine,
// and asks them for what is missing. It has no API of tasks and events.
type Gateway struct {
	cfg      GatewayConfig
	hub      *hub.Hub
	verifier *auth.Verifier
	http     *httpapi.Server
	link     atomic.Pointer[link] // nil until the engine was reached
	shed     atomic.Uint64        // connections closed because it could not keep up
}

// link is a gateway's connection to the cores.
type link struct {
	transport *natsrelay.Transport
	client    *relay.Client
	receiver  *relay.Receiver
}

// elsewhere answers requests for what only a core has.
const elsewhere = "this server is a gateway and serves feeds alone; the rest of the API and the console are on the core servers, which run taskfeed serve: have the load balancer send such requests there"

// NewGateway returns a gateway that is ready to run. It connects to nothing; Run does.
func NewGateway(cfg GatewayConfig) (*Gateway, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	cfg.Log = slog.New(logs.Guard(cfg.Log.Handler()))
	if cfg.Tokens.Logger == nil {
		cfg.Tokens.Logger = cfg.Log
	}
	if cfg.Version == "" {
		cfg.Version = moduleVersion()
	}
	if cfg.Relay.Engine.URLs == "" {
		return nil, errors.New("server config: Relay.Engine.URLs is missing: a gateway needs the engine that its cores use")
	}
	if err := natsrelay.Check(cfg.Relay.Engine.URLs); err != nil {
		return nil, errors.New("server config: Relay.Engine.URLs " + err.Error())
	}
	g := &Gateway{cfg: cfg}
	var err error
	if g.verifier, err = auth.New(cfg.Tokens); err != nil {
		return nil, err
	}
	if g.hub, err = hub.New(gatewayLog{g}, cfg.Hub); err != nil {
		return nil, err
	}
	g.http, err = httpapi.New(httpapi.Deps{
		Hub:         g.hub,
		Verifier:    g.verifier,
		Unavailable: g.unavailable,
		Checks:      g.checks(),
		Collectors:  []prometheus.Collector{gatewayCollector{g}, buildInfo(cfg.Version)},
		SDK:         web.Handler(false),
		Elsewhere:   elsewhere,
		Log:         cfg.Log,
		Version:     cfg.Version,
		Name:        nameOf(cfg.HTTP),
		Describe:    g.describe,
	}, cfg.HTTP)
	return g, err
}

// Run serves until ctx is done, and then closes all connections, spread over
// Config.HTTP.Drain. While the engine or the cores are away it goes on with what it has.
func (g *Gateway) Run(ctx context.Context) error {
	return service.RunServer(ctx, g.http.Run,
		service.Service{Name: "relay", Run: g.receive},
		service.Service{Name: "tokens", Run: g.verifier.Run})
}

// receive connects to the engine and fills the hub until ctx is done.
func (g *Gateway) receive(ctx context.Context) error {
	engine := g.cfg.Relay.Engine
	engine.Name, engine.Logger = "taskfeed gateway", g.cfg.Log
	transport, err := natsrelay.Connect(ctx, engine)
	if err != nil {
		return nil // it gives up with ctx alone
	}
	defer transport.Close()
	client := relay.NewClient(transport, relay.ClientConfig{Prefix: g.cfg.Relay.Prefix})
	receiver := relay.NewReceiver(client, g.hub, relay.ReceiverConfig{Prefix: g.cfg.Relay.Prefix, Warm: true, Logger: g.cfg.Log})
	g.link.Store(&link{transport, client, receiver})
	return service.RunAll(ctx,
		service.Service{Name: "receiver", Run: receiver.Run},
		service.Service{Name: "fleet", Run: func(ctx context.Context) error {
			return relay.Attend(ctx, transport, g.cfg.Relay.Prefix, attendant(g.http, client.Log))
		}},
		service.Service{Name: "shedding", Run: func(ctx context.Context) error {
			return shedWhile(ctx, receiver.Overloaded, g.shedSome, g.cfg.Log)
		}},
		service.Service{Name: "commands", Run: func(ctx context.Context) error {
			last, ok := ask(ctx, client.LastCommand) // earlier commands are for connections that no longer exist
			if !ok {
				return nil
			}
			return obeyCommands(ctx, client, last, g.http.Obey, g.cfg.Log)
		}},
		service.Service{Name: "erasures", Run: func(ctx context.Context) error {
			last, ok := ask(ctx, client.Erasures)
			if !ok {
				return nil
			}
			g.hub.ForgetFrames() // what was erased before the answer may be in memory
			return watchErasures(ctx, client, last, g.hub.ForgetFrames)
		}})
}

// ask repeats a question until it is answered; ok is false when ctx ends before.
func ask[T any](ctx context.Context, question func(context.Context) (T, error)) (said T, ok bool) {
	for {
		said, err := question(ctx)
		if err == nil {
			return said, true
		}
		if !pause.For(ctx, time.Second) {
			return said, false
		}
	}
}

// gatewayLog is the log of a gateway's hub.
type gatewayLog struct{ g *Gateway }

// After implements hub.Log.
func (l gatewayLog) After(ctx context.Context, f taskfeed.Filter, after taskfeed.Cursor, limit int) ([]taskfeed.Event, taskfeed.Cursor, bool, error) {
	link := l.g.link.Load()
	if link == nil {
		return nil, 0, false, errUnlinked
	}
	return link.client.After(ctx, f, after, limit)
}

// Head implements hub.Log.
func (l gatewayLog) Head(ctx context.Context) (taskfeed.Cursor, error) {
	link := l.g.link.Load()
	if link == nil {
		return 0, errUnlinked
	}
	return link.client.Head(ctx)
}

var errUnlinked = &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "this gateway has not reached the engine yet; try again in a moment"}

// unavailable says why no feed can be served: at first, until the gateway has what the
// cores have.
func (g *Gateway) unavailable() error {
	link := g.link.Load()
	if link == nil {
		return errUnlinked
	}
	return link.receiver.Ready()
}

// checks are those of /readyz. A gateway that hears nothing goes on with what it has,
// because others may not be better off; the advice says so.
func (g *Gateway) checks() []httpapi.Check {
	return []httpapi.Check{
		{Name: "log", Run: func(context.Context) error { return g.unavailable() }},
		{Name: "engine", Advice: true, Run: func(context.Context) error {
			if link := g.link.Load(); link == nil || !link.transport.Up() {
				return errEngineAway
			}
			return nil
		}},
		{Name: "fresh", Advice: true, Run: func(context.Context) error {
			if link := g.link.Load(); link != nil {
				return link.receiver.Fresh()
			}
			return errUnlinked
		}},
	}
}

var errEngineAway = &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "the engine cannot be reached: clients get what is in memory, and new events late"}

var (
	descHead      = describe("relay_head", "The last event that this gateway has placed.")
	descEpoch     = describe("relay_epoch", "The epoch of the log; it must be the same everywhere.")
	descBeacon    = describe("relay_beacon_age_seconds", "Time since a core was last heard.")
	descLag       = describe("relay_lag_seconds", "Time between the publication of the last message and its placing, by the clocks of both servers.")
	descMessages  = prometheus.NewDesc("taskfeed_relay_messages_total", "Messages that this gateway has heard, by what became of them.", []string{"result"}, nil)
	descGaps      = describe("relay_gaps_total", "Pages that were asked of cores to fill gaps.")
	descGapEvents = describe("relay_gap_events_total", "Events that filled gaps.")
	descJumps     = describe("relay_jumps_total", "Gaps that retention had reached.")
	descShed      = describe("relay_shed_total", "Connections that this gateway closed because it could not keep up with the log.")
	descAsked     = prometheus.NewDesc("taskfeed_relay_asked_total", "Questions to cores.", []string{"result"}, nil)
)

// gatewayCollector collects the metrics of a gateway.
type gatewayCollector struct{ g *Gateway }

// Describe sends the descriptions of all metrics.
func (c gatewayCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descEngineUp, descReconnects, descEngineFault, descHead, descEpoch, descBeacon, descLag, descMessages, descGaps, descGapEvents, descJumps, descShed, descAsked} {
		ch <- d
	}
}

// Collect sends the current values.
func (c gatewayCollector) Collect(ch chan<- prometheus.Metric) {
	link := c.g.link.Load()
	if link == nil {
		gauge(ch, descEngineUp, 0)
		return
	}
	collectEngine(ch, link.transport)
	s, n := link.receiver.Stats(), link.client.Counts()
	gauge(ch, descHead, float64(s.Head))
	gauge(ch, descEpoch, float64(s.Epoch))
	if !s.Beacon.IsZero() {
		gauge(ch, descBeacon, time.Since(s.Beacon).Seconds())
	}
	gauge(ch, descLag, s.Lag.Seconds())
	counter(ch, descMessages, n.Applied.Load(), "applied")
	counter(ch, descMessages, n.Old.Load(), "old")
	counter(ch, descMessages, n.Early.Load(), "early")
	counter(ch, descMessages, n.Refused.Load(), "refused")
	counter(ch, descMessages, n.Dropped.Load(), "dropped")
	counter(ch, descGaps, n.Gaps.Load())
	counter(ch, descGapEvents, n.GapEvents.Load())
	counter(ch, descJumps, n.Jumps.Load())
	counter(ch, descShed, c.g.shed.Load())
	counter(ch, descAsked, n.Asked.Load(), "answered")
	counter(ch, descAsked, n.AskErrors.Load(), "failed")
}
