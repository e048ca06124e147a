package relay_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/relaytest"
	"github.com/taskfeed/taskfeed/relay"
)

// slowFeed is a hub that takes its time for each event.
type slowFeed struct {
	*hub.Hub
	each atomic.Int64
}

// take takes the time for n events.
func (f *slowFeed) take(n int) {
	pause.For(context.Background(), time.Duration(n)*time.Duration(f.each.Load()))
}

func (f *slowFeed) Publish(events []taskfeed.Event) {
	f.take(len(events))
	f.Hub.Publish(events)
}

func (f *slowFeed) PublishFrames(frames []hub.Frame, through taskfeed.Cursor) {
	f.take(len(frames))
	f.Hub.PublishFrames(frames, through)
}

// slowGateway is a gateway whose hub takes so long for each event.
func (f *fleet) slowGateway(each time.Duration, cfg relay.ReceiverConfig) (*gateway, *slowFeed) {
	f.t.Helper()
	g := &gateway{link: f.net.Connect()}
	g.client = relay.NewClient(g.link, relay.ClientConfig{})
	g.hub = f.hub(g.client)
	cfg.Logger = f.logger()
	feed := &slowFeed{Hub: g.hub}
	feed.each.Store(int64(each))
	g.Receiver = relay.NewReceiver(g.client, feed, cfg)
	f.run(g.Run)
	return g, feed
}

// write commits events in a steady stream.
func (c *core) write(d time.Duration, each int) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		c.commit(each)
		pass(100 * time.Millisecond)
	}
}

// A gateway that places fewer events than come says that it is overloaded, whether they
// wait in its memory or are asked for, until it keeps up again.
func TestASlowGatewayIsOverloaded(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]relay.ReceiverConfig{"messages wait": {}, "messages are dropped": {BufferBytes: 2000}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inFleet(t, func(f *fleet) {
				c := f.core(lineage, relaytest.NewLog(lineage))
				g, feed := f.slowGateway(2*time.Millisecond, cfg)
				pass(2 * time.Second)
				c.write(5*time.Second, 100) // 1000 a second; it places 500
				if g.Overloaded() {
					t.Error("overloaded after 5 s, want it to be patient")
				}
				c.write(30*time.Second, 100)
				if !g.Overloaded() || g.Fresh() == nil {
					t.Errorf("after 35 s: overloaded %t, fresh %v; want overloaded", g.Overloaded(), g.Fresh())
				}
				if dropped := g.client.Counts().Dropped.Load(); dropped == 0 != (cfg.BufferBytes == 0) {
					t.Errorf("%d messages were dropped", dropped)
				}
				feed.each.Store(int64(100 * time.Microsecond)) // as after shedding
				c.write(20*time.Second, 100)
				if g.Overloaded() || g.Fresh() != nil {
					t.Errorf("with less to do: overloaded %t, fresh %v; want neither", g.Overloaded(), g.Fresh())
				}
				pass(5 * time.Second)
				f.wantHead(g, c.log.Last(), "in the end")
			})
		})
	}
}

// A gateway that was cut off for long is far behind and catches up, although slowly: it is
// not overloaded.
func TestCatchingUpIsNoOverload(t *testing.T) {
	t.Parallel()
	inFleet(t, func(f *fleet) {
		c := f.core(lineage, relaytest.NewLog(lineage))
		g, _ := f.slowGateway(5*time.Millisecond, relay.ReceiverConfig{})
		pass(2 * time.Second)
		g.link.Cut()
		c.write(60*time.Second, 10)
		g.link.Heal()
		behind := 0
		for range 50 {
			c.write(time.Second, 10)
			if g.Overloaded() {
				t.Fatalf("overloaded while it catches up, at %d of %d", g.hub.Stats().Head, c.log.Last())
			}
			if c.log.Last()-g.hub.Stats().Head > 1000 {
				behind++
			}
		}
		if behind < 10 {
			t.Errorf("it was far behind for %d s, want a longer test", behind)
		}
	})
}

// While no core answers, the gateway is behind through no fault of its own.
func TestAbsentCoresAreNoOverload(t *testing.T) {
	t.Parallel()
	inFleet(t, func(f *fleet) {
		c := f.core(lineage, relaytest.NewLog(lineage))
		g, _ := f.slowGateway(2*time.Millisecond, relay.ReceiverConfig{BufferBytes: 2000})
		pass(2 * time.Second)
		c.write(30*time.Second, 100)
		if !g.Overloaded() {
			t.Fatal("not overloaded, want it to be")
		}
		c.link.Cut()
		pass(30 * time.Second)
		if g.Overloaded() {
			t.Error("overloaded while no core answers")
		}
	})
}

// What a clock of another server says does not matter.
func TestClocksOfOthersDoNotOverload(t *testing.T) {
	t.Parallel()
	inFleet(t, func(f *fleet) {
		c := f.core(lineage, relaytest.NewLog(lineage))
		g, _ := f.slowGateway(time.Millisecond, relay.ReceiverConfig{})
		pass(2 * time.Second)
		for range 300 {
			events := c.log.Commit(3)
			for i := range events {
				events[i].Timestamp = events[i].Timestamp.Add(-24 * time.Hour)
			}
			c.hub.Publish(events)
			pass(100 * time.Millisecond)
			if g.Overloaded() {
				t.Fatal("overloaded, want it to keep up")
			}
		}
	})
}
