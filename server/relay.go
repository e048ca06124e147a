package server

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/internal/service"
	"github.com/taskfeed/taskfeed/relay"
	"github.com/taskfeed/taskfeed/relay/natsrelay"
	"github.com/taskfeed/taskfeed/store"
)

// RelayConfig says how the log reaches gateways. Without Engine.URLs there are none.
type RelayConfig struct {
	// Engine is the NATS that cores and gateways connect to.
	Engine natsrelay.Config
	// Prefix begins the subjects. Each deployment on a NATS has its own. Default
	// "taskfeed".
	Prefix string
	// Uncompressed has a core send messages as they are.
	Uncompressed bool
}

// core is what a server with a database does for gateways: while it leads, it publishes
// the log, and at all times it answers questions.
type core struct {
	cfg   Config
	hub   *hub.Hub
	store *store.Store
	looks *looks
	http  *httpapi.Server // set before Run

	linked    chan struct{} // closed once the rest is set
	transport *natsrelay.Transport
	publisher *relay.Publisher
	answerer  *relay.Answerer
	up        atomic.Bool  // it is linked
	reached   atomic.Int64 // when the engine answered last, or the core was made, in nanoseconds after began
	began     time.Time
	roster    atomic.Pointer[relay.Roster] // nil until the name of the log is known
}

func newCore(cfg Config, h *hub.Hub, st *store.Store, l *looks) *core {
	return &core{cfg: cfg, hub: h, store: st, looks: l, linked: make(chan struct{}), began: time.Now()}
}

// Run answers gateways until ctx is done. Users of this server do without it.
func (c *core) Run(ctx context.Context) error {
	engine := c.cfg.Relay.Engine
	engine.Name, engine.Logger = "taskfeed core", c.cfg.Log
	var err error
	if c.transport, err = natsrelay.Connect(ctx, engine); err != nil {
		return nil // it gives up with ctx alone
	}
	defer c.transport.Close()
	c.publisher, err = relay.NewPublisher(c.transport, c.hub, relay.PublisherConfig{
		Prefix: c.cfg.Relay.Prefix, Server: nameOf(c.cfg.HTTP), Uncompressed: c.cfg.Relay.Uncompressed, Logger: c.cfg.Log})
	if err != nil {
		c.cfg.Log.Error("gateways get nothing from this server", "why", err)
		<-ctx.Done()
		return nil
	}
	stop, err := c.publisher.Listen()
	if err != nil {
		return err
	}
	defer stop()
	c.answerer = relay.NewAnswerer(c.transport, relaySource{c.store, c.looks}, relay.AnswererConfig{Prefix: c.cfg.Relay.Prefix,
		Parallel: c.cfg.Hub.MaxReplays, Recent: c.hub.RecentFloor, Uncompressed: c.cfg.Relay.Uncompressed, Logger: c.cfg.Log})
	c.up.Store(true)
	close(c.linked)
	return service.RunAll(ctx, service.Service{Name: "answers", Run: c.answerer.Run},
		service.Service{Name: "pings", Run: c.ping}, service.Service{Name: "fleet", Run: c.attend})
}

const (
	engineInterval = time.Second                       // between two pings of the engine
	enginePatience = 2 * time.Second                   // for the answer to one
	engineSilence  = 2*engineInterval + enginePatience // then the engine is away
)

// ping notes when the engine answers, until ctx is done.
func (c *core) ping(ctx context.Context) error {
	tick := time.NewTicker(engineInterval)
	defer tick.Stop()
	for {
		bounded, cancel := context.WithTimeout(ctx, enginePatience)
		if err := c.transport.Ping(bounded); err == nil {
			c.reached.Store(int64(time.Since(c.began)))
		}
		cancel()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// away is listener.Config.EngineAway.
func (c *core) away() time.Duration {
	silence := time.Since(c.began) - time.Duration(c.reached.Load())
	if c.up.Load() && silence < engineSilence {
		return 0
	}
	return max(silence, 1)
}

// lead publishes the log while this server leads; see listener.Config.Leading.
func (c *core) lead(ctx context.Context, id [16]byte, epoch int64) error {
	select {
	case <-ctx.Done():
		return nil
	case <-c.linked:
		return c.publisher.Lead(ctx, relay.Lineage{ID: id, Epoch: epoch})
	}
}

var errNoEngine = &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "the engine cannot be reached: events reach gateways late"}

// check is for /readyz: this server's own users do without the engine.
func (c *core) check() httpapi.Check {
	return httpapi.Check{Name: "engine", Advice: true, Run: func(context.Context) error {
		if !c.up.Load() || !c.transport.Up() {
			return errNoEngine
		}
		return nil
	}}
}

// relaySource is the log as gateways ask for it. What they ask for each second comes from
// this server's own looks.
type relaySource struct {
	*store.Store
	looks *looks
}

// Lineage implements relay.Source.
func (s relaySource) Lineage(ctx context.Context) (relay.Lineage, error) { return s.looks.lineage(ctx) }

// CommandsAfter implements relay.Source.
func (s relaySource) CommandsAfter(ctx context.Context, id int64) ([]taskfeed.Command, error) {
	if s.looks.noCommandsAfter(id) {
		return nil, nil
	}
	return s.Store.CommandsAfter(ctx, id)
}

// Erasures implements relay.Source.
func (s relaySource) Erasures(ctx context.Context) (int64, error) {
	if n, ok := s.looks.knownErasures(); ok {
		return n, nil
	}
	return s.Store.Erasures(ctx)
}

func (s relaySource) State(ctx context.Context) (relay.State, error) {
	state, err := s.LogState(ctx)
	return stateOf(state), err
}

func (s relaySource) Page(ctx context.Context, f taskfeed.Filter, after taskfeed.Cursor, limit int) (relay.State, relay.Page, error) {
	state, events, through, more, err := s.AfterState(ctx, f, after, limit)
	return stateOf(state), relay.Page{Events: events, Through: through, More: more}, err
}

func stateOf(s store.LogState) relay.State {
	return relay.State{Lineage: relay.Lineage{ID: s.ID, Epoch: s.Epoch}, Last: s.Last, Head: s.Head}
}

// parts are what a core runs for gateways: nothing unless an engine is named.
func (c *core) parts() []service.Service {
	if c == nil {
		return nil
	}
	return []service.Service{{Name: "relay", Run: c.Run}}
}

var (
	descEngineUp    = describe("engine_up", "1 while this server is connected to the engine.")
	descReconnects  = describe("engine_reconnects_total", "Times that a connection to the engine was lost and made again.")
	descEngineFault = prometheus.NewDesc("taskfeed_engine_errors_total", "Faults that the engine's connections report.", []string{"kind"}, nil)

	descPublished   = describe("relay_published_total", "Messages with events that this core has published.")
	descSentBytes   = describe("relay_published_bytes_total", "Their size.")
	descConfirmed   = describe("relay_confirmed", "The event up to which the engine has everything that this core published.")
	descRepublished = describe("relay_republished_total", "Times that this core went back to what the engine had confirmed.")
	descAnswers     = prometheus.NewDesc("taskfeed_relay_answers_total", "Questions of gateways, by how they were answered.", []string{"result"}, nil)
	descAnswerTime  = describe("relay_answer_seconds_total", "Time that answers to gateways have taken.")
	descAnswering   = describe("relay_answers_running", "Questions of gateways that are being answered.")
)

// Describe sends the descriptions of all metrics.
func (c *core) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descEngineUp, descReconnects, descEngineFault, descPublished, descSentBytes, descConfirmed,
		descRepublished, descAnswers, descAnswerTime, descAnswering} {
		ch <- d
	}
}

// Collect sends the current values.
func (c *core) Collect(ch chan<- prometheus.Metric) {
	if !c.up.Load() {
		ch <- prometheus.MustNewConstMetric(descEngineUp, prometheus.GaugeValue, 0)
		return
	}
	collectEngine(ch, c.transport)
	p, a := c.publisher.Counts(), c.answerer.Counts()
	counter(ch, descPublished, p.Messages.Load())
	counter(ch, descSentBytes, p.Bytes.Load())
	gauge(ch, descConfirmed, float64(p.Confirmed.Load()))
	counter(ch, descRepublished, p.Republished.Load())
	counter(ch, descAnswers, a.Answered.Load(), "answered")
	counter(ch, descAnswers, a.Busy.Load(), "busy")
	counter(ch, descAnswers, a.Failed.Load(), "failed")
	ch <- prometheus.MustNewConstMetric(descAnswerTime, prometheus.CounterValue, (time.Duration(a.Micros.Load()) * time.Microsecond).Seconds())
	gauge(ch, descAnswering, float64(a.Running.Load()))
}

func collectEngine(ch chan<- prometheus.Metric, t *natsrelay.Transport) {
	gauge(ch, descEngineUp, oneIf(t.Up()))
	s := t.Stats()
	counter(ch, descReconnects, s.Reconnects.Load())
	counter(ch, descEngineFault, s.SlowConsumers.Load(), "slow_consumer")
	counter(ch, descEngineFault, s.Errors.Load(), "other")
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, n uint64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
}
