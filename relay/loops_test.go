package relay_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/lab/locked"
	"github.com/taskfeed/taskfeed/lab/relaytest"
	"github.com/taskfeed/taskfeed/relay"
)

// fleet is servers on one network in memory, in a bubble.
type fleet struct {
	t   *testing.T
	net *relaytest.Net
	ctx context.Context
	wg  sync.WaitGroup
	log locked.Buffer
}

func inFleet(t *testing.T, test func(*fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := &fleet{t: t, net: relaytest.NewNet(1 << 20), ctx: ctx}
		defer f.wg.Wait()
		defer cancel()
		test(f)
	})
}

func (f *fleet) run(part func(context.Context) error) {
	f.wg.Go(func() {
		if err := part(f.ctx); err != nil {
			f.t.Errorf("a part ended: %v", err)
		}
	})
}

func (f *fleet) logger() *slog.Logger { return slog.New(slog.NewTextHandler(&f.log, nil)) }

func (f *fleet) hub(log hub.Log) *hub.Hub {
	f.t.Helper()
	h, err := hub.New(log, hub.Config{RecentLogBytes: 1 << 20, LastIDs: -1})
	if err != nil {
		f.t.Fatal(err)
	}
	return h
}

// core is a server with a log.
type core struct {
	link *relaytest.Link
	log  *relaytest.Log
	hub  *hub.Hub
	*relay.Publisher
	*relay.Answerer
}

func (f *fleet) core(lineage relay.Lineage, log *relaytest.Log) *core {
	f.t.Helper()
	c := &core{link: f.net.Connect(), log: log, hub: f.hub(log)}
	c.hub.SetHead(log.Last())
	var err error
	if c.Publisher, err = relay.NewPublisher(c.link, c.hub, relay.PublisherConfig{Server: "core", Logger: f.logger()}); err != nil {
		f.t.Fatal(err)
	}
	c.Answerer = relay.NewAnswerer(c.link, log, relay.AnswererConfig{Recent: c.hub.RecentFloor, Logger: f.logger()})
	f.run(c.Answerer.Run)
	f.run(func(ctx context.Context) error { return c.Lead(ctx, lineage) })
	return c
}

// commit appends events to the log and announces them.
func (c *core) commit(n int) { c.hub.Publish(c.log.Commit(n)) }

// gateway is a server without a log.
type gateway struct {
	link   *relaytest.Link
	client *relay.Client
	hub    *hub.Hub
	*relay.Receiver
}

func (f *fleet) gateway(cfg relay.ReceiverConfig) *gateway {
	f.t.Helper()
	g := &gateway{link: f.net.Connect()}
	g.client = relay.NewClient(g.link, relay.ClientConfig{})
	g.hub = f.hub(g.client)
	cfg.Logger = f.logger()
	g.Receiver = relay.NewReceiver(g.client, g.hub, cfg)
	f.run(g.Run)
	return g
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (f *fleet) wantHead(g *gateway, want taskfeed.Cursor, when string) {
	f.t.Helper()
	if got := g.hub.Stats().Head; got != want {
		f.t.Errorf("%s: the gateway is at %d, want %d", when, got, want)
	}
}

var lineage = relay.Lineage{ID: [16]byte{1}, Epoch: 1}

// The loss of the last message of a burst is found by the beacon that follows it, and
// that of a beacon by the next one.
func TestALostLastMessageIsFound(t *testing.T) {
	t.Parallel()
	inFleet(t, func(f *fleet) {
		c := f.core(lineage, relaytest.NewLog(lineage))
		g := f.gateway(relay.ReceiverConfig{})
		pass(2 * time.Second)
		c.commit(3)
		pass(time.Millisecond)
		f.wantHead(g, 3, "when nothing is lost")
		if asked := g.client.Counts().GapEvents.Load(); asked != 0 {
			t.Errorf("asked for %d events, want none", asked)
		}
		g.link.Cut()
		c.commit(1)
		pass(time.Millisecond)
		g.link.Heal()
		f.wantHead(g, 3, "when the message is lost")
		pass(60 * time.Millisecond)
		f.wantHead(g, 4, "after the beacon")

		g.link.Cut()
		c.commit(1)
		pass(200 * time.Millisecond)
		g.link.Heal()
		pass(1200 * time.Millisecond)
		f.wantHead(g, 5, "after the next beacon")
	})
}

// When no core is heard, the gateway asks where the log ends.
func TestSilenceIsNotBelieved(t *testing.T) {
	t.Parallel()
	inFleet(t, func(f *fleet) {
		log := relaytest.NewLog(lineage)
		leader := f.core(lineage, log)
		g := f.gateway(relay.ReceiverConfig{})
		answers := relay.NewAnswerer(f.net.Connect(), log, relay.AnswererConfig{})
		f.run(answers.Run)
		pass(2 * time.Second)
		leader.link.Cut()
		leader.commit(2)
		pass(5 * time.Second)
		f.wantHead(g, 2, "five seconds after the leader was cut off")
		pass(10 * time.Second)
		if g.Fresh() == nil {
			t.Error("the gateway says that it is fresh, want a word of the silence")
		}
		leader.commit(1)
		leader.link.Heal()
		pass(3 * time.Second)
		f.wantHead(g, 3, "after the cut")
		if g.Fresh() != nil || leader.Publisher.Counts().Republished.Load() == 0 {
			t.Errorf("fresh: %v; the leader has published nothing again", g.Fresh())
		}
	})
}

// A new gateway has the recent events of a core in memory before it is ready.
func TestANewGatewayIsWarm(t *testing.T) {
	t.Parallel()
	inFleet(t, func(f *fleet) {
		c := f.core(lineage, relaytest.NewLog(lineage))
		c.commit(3000)
		g := f.gateway(relay.ReceiverConfig{Warm: true})
		pass(time.Second)
		f.wantHead(g, 3000, "at first")
		if err := g.Ready(); err != nil {
			t.Fatalf("not ready: %v", err)
		}
		asked := g.client.Counts().Asked.Load()
		var got []taskfeed.Cursor
		sub, err := g.hub.Subscribe(hub.SubscribeOptions{Filter: taskfeed.Filter{UserID: "alice"}, After: new(taskfeed.Cursor(500)), Wake: func() {}})
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Close()
		for sub.Cursor() < 3000 {
			frames, err := sub.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, frame := range frames {
				got = append(got, frame.ID)
			}
		}
		if want := c.log.IDs("alice", 500); !slices.Equal(got, want) {
			t.Errorf("got %d events, want %d", len(got), len(want))
		}
		if now := g.client.Counts().Asked.Load(); now != asked {
			t.Errorf("%d questions for a client that comes back, want none", now-asked)
		}
	})
}

// A gateway without cores is not ready, and becomes ready when one comes.
func TestAGatewayWaitsForACore(t *testing.T) {
	t.Parallel()
	inFleet(t, func(f *fleet) {
		g := f.gateway(relay.ReceiverConfig{})
		pass(30 * time.Second)
		if err := g.Ready(); taskfeed.CodeOf(err) != taskfeed.CodeUnavailable {
			t.Errorf("ready without cores: %v, want unavailable", err)
		}
		f.core(lineage, relaytest.NewLog(lineage)).commit(1)
		pass(2 * time.Second)
		if err := g.Ready(); err != nil {
			t.Errorf("with a core: %v, want it ready", err)
		}
		f.wantHead(g, 1, "with a core")
	})
}

// Two deployments with one prefix are told apart: a gateway goes on with the log that it
// heard first, says so, and places nothing of the other.
func TestAnotherLogOnThePrefix(t *testing.T) {
	t.Parallel()
	inFleet(t, func(f *fleet) {
		c := f.core(lineage, relaytest.NewLog(lineage))
		g := f.gateway(relay.ReceiverConfig{})
		pass(2 * time.Second)
		theirs := relay.Lineage{ID: [16]byte{2}, Epoch: 9}
		stranger := f.core(theirs, relaytest.NewLog(theirs))
		stranger.commit(50)
		c.commit(2)
		pass(3 * time.Second)
		f.wantHead(g, 2, "beside another log")
		if err := g.Ready(); err == nil || !strings.Contains(err.Error(), "prefix") {
			t.Errorf("ready: %v, want an error that names the prefix", err)
		}
		if refused := g.client.Counts().Refused.Load(); refused == 0 {
			t.Error("nothing was refused")
		}
		if lines := strings.Count(f.log.String(), "another log"); lines == 0 || lines > 5 {
			t.Errorf("%d log lines about the other log, want a few", lines)
		}
		stranger.link.Cut()
		pass(15 * time.Second)
		if err := g.Ready(); err != nil {
			t.Errorf("after the other log has gone: %v, want it ready", err)
		}
	})
}

// What is not a message is refused and does no harm.
func TestGarbageIsRefused(t *testing.T) {
	t.Parallel()
	inFleet(t, func(f *fleet) {
		c := f.core(lineage, relaytest.NewLog(lineage))
		g := f.gateway(relay.ReceiverConfig{})
		pass(2 * time.Second)
		other := f.net.Connect()
		for _, garbage := range []string{"", "hello", "TF", "TF\x01\x01", "TF\x01\x01" + strings.Repeat("\xff", 200), "TF\x63\x01later", "TF\x01\x03", "TF\x01\x09"} {
			if err := other.Publish("taskfeed.log", []byte(garbage)); err != nil {
				t.Fatal(err)
			}
			if answer, err := other.Request(f.ctx, "taskfeed.ask", []byte(garbage)); err != nil || len(answer) == 0 {
				t.Errorf("question %q: %q, %v, want an answer that refuses it", garbage, answer, err)
			}
		}
		c.commit(1)
		pass(time.Second)
		f.wantHead(g, 1, "after garbage")
		if refused := g.client.Counts().Refused.Load(); refused != 8 {
			t.Errorf("%d messages refused, want 8", refused)
		}
		if !strings.Contains(f.log.String(), "upgrade the cores first") {
			t.Errorf("the log is %s, want what to do about a later version", &f.log)
		}
	})
}

// A gateway whose buffer is full drops messages and asks for their events.
func TestAFullBufferHeals(t *testing.T) {
	t.Parallel()
	inFleet(t, func(f *fleet) {
		c := f.core(lineage, relaytest.NewLog(lineage))
		g := f.gateway(relay.ReceiverConfig{BufferBytes: 150})
		pass(2 * time.Second)
		c.commit(400)
		pass(2 * time.Second)
		f.wantHead(g, 400, "in the end")
		if g.client.Counts().Dropped.Load() == 0 || g.client.Counts().GapEvents.Load() == 0 {
			t.Error("nothing was dropped and asked for")
		}
	})
}

// A core that has as many questions as it can answer says so at once.
func TestABusyCoreRefuses(t *testing.T) {
	t.Parallel()
	inFleet(t, func(f *fleet) {
		log := &slowLog{Log: relaytest.NewLog(lineage), release: make(chan struct{})}
		answerer := relay.NewAnswerer(f.net.Connect(), log, relay.AnswererConfig{Parallel: 2, Logger: f.logger()})
		f.run(answerer.Run)
		synctest.Wait()
		client := relay.NewClient(f.net.Connect(), relay.ClientConfig{})
		for range 2 {
			f.wg.Go(func() { _, _ = client.Head(f.ctx) })
		}
		synctest.Wait()
		if _, err := client.Head(f.ctx); taskfeed.CodeOf(err) != taskfeed.CodeUnavailable {
			t.Errorf("a third question: %v, want unavailable", err)
		}
		close(log.release)
		synctest.Wait()
		if counts := answerer.Counts(); counts.Busy.Load() != 1 || counts.Answered.Load() != 2 || counts.Running.Load() != 0 {
			t.Errorf("busy %d, answered %d, running %d, want 1, 2, 0", counts.Busy.Load(), counts.Answered.Load(), counts.Running.Load())
		}
	})
}

// slowLog answers once it is released.
type slowLog struct {
	*relaytest.Log
	release chan struct{}
}

func (l *slowLog) State(ctx context.Context) (relay.State, error) {
	<-l.release
	return l.Log.State(ctx)
}
