package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/relay"
)

const (
	takeRate  = 10_000 // events a second
	takeBatch = 25     // as many as a core moves into the log at once at that rate
	takeBytes = 1000   // of an event's data, about
	takeUsers = 100_000
	takePool  = 1000 // different data
	// takeMemory is small, so that it is full, as it is in a gateway that has run for some
	// time, before anything is measured.
	takeMemory = "TASKFEED_RECENT_LOG=16777216"
)

// took is what events cost in one turn.
type took struct {
	gateway, engine float64 // % of a core at takeRate
	bytes           float64 // of messages, for each event
}

// taking measures what it costs a gateway to hear the events of users who are not
// connected to it, compressed and not. They come from a publisher in this process, as a
// core has it, over NATS: Postgres would need the machine that the gateway is measured on.
func (b *bench) taking(ctx context.Context, _ *place, e *engine) ([]Figure, error) {
	var turns [2][]took // of compressions
	pool := make([]json.RawMessage, takePool)
	for i := range pool {
		pool[i] = someData()
	}
	for range max(1, b.cfg.Rounds*2/5) {
		for i, uncompressed := range []bool{true, false} {
			t, err := b.take(ctx, e, pool, uncompressed)
			if err != nil {
				return nil, fmt.Errorf("hear events: %w", err)
			}
			turns[i] = append(turns[i], t)
		}
	}
	const without = "without compression"
	values := func(of func(took) float64) (off, s2 []float64) {
		for i := range turns[0] {
			off, s2 = append(off, of(turns[0][i])), append(s2, of(turns[1][i]))
		}
		return off, s2
	}
	name := fmt.Sprintf("%d events/s for users who are not there", takeRate)
	var figures []Figure
	if off, s2 := values(func(t took) float64 { return t.gateway }); s2[0] > 0 {
		figures = append(figures, compare("CPU of a gateway that hears "+name, "% of a core", s2).lower().beside(without, off).judge(atMost(5)))
		off, s2 = values(func(t took) float64 { return t.engine })
		figures = append(figures, compare("CPU of NATS that carries them to one gateway", "% of a core", s2).lower().beside(without, off))
	}
	off, s2 := values(func(t took) float64 { return t.bytes })
	figures = append(figures, compare(fmt.Sprintf("bytes on the way to a gateway for each event with %d bytes of data", takeBytes), "bytes", s2).lower().beside(without, off))
	for _, f := range figures {
		b.say("gateways: %s: %.1f %s, %s %.1f", f.Name, f.Value, f.Unit, f.Baseline, f.Base)
	}
	return figures, nil
}

// take measures one turn.
func (b *bench) take(ctx context.Context, e *engine, pool []json.RawMessage, uncompressed bool) (t took, err error) {
	running, cancel := context.WithCancel(ctx)
	group, running := errgroup.WithContext(running)
	defer func() { cancel(); err = errors.Join(err, group.Wait()) }()
	core, err := b.startTorrent(running, group, e, uncompressed)
	if err != nil {
		return t, err
	}
	core.pool = pool
	gateway, err := b.serveGateway(running, e, takeMemory)
	if err != nil {
		return t, err
	}
	defer gateway.stop()
	if _, err := core.pour(running, 6*b.cfg.Step); err != nil { // fills the memory
		return t, err
	}
	before, err := core.heard(running, gateway, e.server)
	if err != nil {
		return t, err
	}
	bytes, started := core.publisher.Counts().Bytes.Load(), time.Now()
	sent, err := core.pour(running, 5*b.cfg.Step)
	if err != nil {
		return t, err
	}
	after, err := core.heard(running, gateway, e.server)
	if err != nil {
		return t, err
	}
	if rate := float64(sent) / (time.Since(started) - heardPause).Seconds(); rate < 0.9*takeRate {
		b.note("gateways: only about %.0f events/s were heard in place of %d; what they cost was scaled up", rate, takeRate)
	}
	at := func(used time.Duration) float64 { return 100 * used.Seconds() / float64(sent) * takeRate }
	return took{at(after.gateway - before.gateway), at(after.engine - before.engine), float64(core.publisher.Counts().Bytes.Load()-bytes) / float64(sent)}, nil
}

type usage struct{ gateway, engine time.Duration }

// usageOf returns the CPU that was used so far; nothing on systems where it is not known.
func usageOf(gateway, engine *server) (u usage) {
	u.gateway, _ = gateway.cpu()
	u.engine, _ = engine.cpu()
	return u
}

// torrent is a core without a database, with many events.
type torrent struct {
	lineage   relay.Lineage
	hub       *hub.Hub
	publisher *relay.Publisher
	pool      []json.RawMessage
	last      atomic.Int64
}

// startTorrent runs such a core, under a log of its own, in the group.
func (b *bench) startTorrent(ctx context.Context, group *errgroup.Group, e *engine, uncompressed bool) (*torrent, error) {
	transport, err := e.connect(ctx)
	if err != nil {
		return nil, err
	}
	c := &torrent{lineage: relay.Lineage{ID: [16]byte{1}, Epoch: 1}}
	c.last.Store(1)
	quiet := slog.New(slog.DiscardHandler)
	if c.hub, err = hub.New(c, hub.Config{}); err == nil {
		c.hub.SetHead(1)
		c.publisher, err = relay.NewPublisher(transport, c.hub, relay.PublisherConfig{Uncompressed: uncompressed, Logger: quiet})
	}
	if err != nil {
		transport.Close()
		return nil, err
	}
	group.Go(func() error {
		defer transport.Close()
		both, ctx := errgroup.WithContext(ctx)
		both.Go(func() error { return c.publisher.Lead(ctx, c.lineage) })
		both.Go(func() error { return relay.NewAnswerer(transport, c, relay.AnswererConfig{Logger: quiet}).Run(ctx) })
		return both.Wait()
	})
	return c, nil
}

// pour publishes events at takeRate for some time, and returns how many.
func (c *torrent) pour(ctx context.Context, during time.Duration) (sent int, err error) {
	began := time.Now()
	for due := began; due.Sub(began) < during; due = due.Add(time.Second * takeBatch / takeRate) {
		if err := sleep(ctx, time.Until(due)); err != nil {
			return sent, err
		}
		c.hub.Publish(c.batch())
		sent += takeBatch
	}
	return sent, nil
}

// heardPause is how long a gateway has to itself between the questions what it has heard,
// which cost it more than many events.
const heardPause = 200 * time.Millisecond

// heard waits until the gateway has all events, and returns what was used up to then.
func (c *torrent) heard(ctx context.Context, gateway, engine *server) (u usage, err error) {
	for deadline := time.Now().Add(arrivalTime); ; {
		if err := sleep(ctx, heardPause); err != nil {
			return u, err
		}
		u = usageOf(gateway, engine)
		head, err := gateway.metric("taskfeed_relay_head")
		if err != nil || head >= float64(c.last.Load()) {
			return u, err
		}
		if time.Now().After(deadline) {
			return u, fmt.Errorf("the gateway has heard of %.0f events of %d after %v", head, c.last.Load(), arrivalTime)
		}
	}
}

// batch makes the next events.
func (c *torrent) batch() []taskfeed.Event {
	events := make([]taskfeed.Event, takeBatch)
	for i := range events {
		events[i] = taskfeed.Event{ID: taskfeed.Cursor(c.last.Add(1)), UserID: fmt.Sprint("away-", rand.N(takeUsers)), TaskID: fmt.Sprint("task-", rand.N(takeUsers)),
			Type: taskfeed.TypeTaskProgress, Version: int64(i + 1), Data: c.pool[rand.N(len(c.pool))], Timestamp: time.Now()}
	}
	return events
}

var errNoLog = &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "this log cannot be read: its events came too fast"}

// After implements hub.Log.
func (c *torrent) After(context.Context, taskfeed.Filter, taskfeed.Cursor, int) ([]taskfeed.Event, taskfeed.Cursor, bool, error) {
	return nil, 0, false, errNoLog
}

// Head implements hub.Log.
func (c *torrent) Head(context.Context) (taskfeed.Cursor, error) {
	return taskfeed.Cursor(c.last.Load()), nil
}

// State implements relay.Source.
func (c *torrent) State(context.Context) (relay.State, error) {
	last := taskfeed.Cursor(c.last.Load())
	return relay.State{Lineage: c.lineage, Last: last, Head: last}, nil
}

// Page implements relay.Source.
func (c *torrent) Page(context.Context, taskfeed.Filter, taskfeed.Cursor, int) (relay.State, relay.Page, error) {
	return relay.State{}, relay.Page{}, errNoLog
}

// Lineage implements relay.Source.
func (c *torrent) Lineage(context.Context) (relay.Lineage, error) { return c.lineage, nil }

// CommandsAfter implements relay.Source.
func (c *torrent) CommandsAfter(context.Context, int64) ([]taskfeed.Command, error) { return nil, nil }

// LastCommand implements relay.Source.
func (c *torrent) LastCommand(context.Context) (int64, error) { return 0, nil }

// Erasures implements relay.Source.
func (c *torrent) Erasures(context.Context) (int64, error) { return 0, nil }

// someData returns about takeBytes of data, as repetitive as what people and programs
// write.
func someData() json.RawMessage {
	var text []string
	for size := 0; size < takeBytes-40; {
		word := dataWords[rand.N(len(dataWords))]
		if rand.N(4) == 0 {
			word = fmt.Sprint(rand.N(1_000_000))
		}
		text = append(text, word)
		size += len(word) + 1
	}
	return fmt.Appendf(nil, `{"progress":%d,"message":"%s"}`, rand.N(101), strings.Join(text, " "))
}

var dataWords = strings.Fields("import of customers step rows were read written checked and the next batch begins file export invoice order number status running waiting queue retry worker finished page of with in to from")
