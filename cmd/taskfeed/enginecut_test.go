package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/natstest"
	"github.com/taskfeed/taskfeed/lab/netfault"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// A core that leads and is cut off from the engine leads on while the other core is, too.
// It gives the lead away once the other reaches the engine, and gateways then hear of
// events again. It does not take the lead back.
func TestCutOffCoreGivesUpTheLead(t *testing.T) {
	t.Parallel()
	nats := natstest.Start(t, "")
	behind := func() (*netfault.Proxy, string) {
		p, err := netfault.New("tcp", strings.TrimPrefix(nats.URL(), "nats://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		return p, "TASKFEED_ENGINE_URL=nats://" + p.Addr()
	}
	toFirst, firstURL := behind()
	toSecond, secondURL := behind()
	db := pgtest.New(t)
	first := startServing(t, db, firstURL)
	eventually(t, "the first core leads", 10*time.Second, func() bool { return first.leads(t) })
	second := startServing(t, db, secondURL)
	gateway := startGateway(t, "TASKFEED_ENGINE_URL="+nats.URL())
	conn := dialPlain(t, gateway, "alice")
	made := 0
	arrives := func() {
		t.Helper()
		made++
		pgtest.Exec(t, db, fmt.Sprintf("INSERT INTO taskfeed.tasks (id, user_id) VALUES ('a%d', 'alice')", made))
		for {
			if f := nextFrame(t, conn); f.Type != taskfeed.TypeFeedLive {
				if f.Event.TaskID != fmt.Sprint("a", made) {
					t.Fatalf("got an event of %s, want a%d", f.Event.TaskID, made)
				}
				return
			}
		}
	}
	arrives()

	hole := netfault.Mode{HoldUp: true, HoldDown: true}
	toFirst.Set(hole)
	toSecond.Set(hole)
	eventually(t, "the first core leads on", 60*time.Second, func() bool {
		return strings.Contains(first.stderr.String(), "leads on although it does not reach the engine")
	})
	eventually(t, "the first core leads while nobody reaches the engine", 10*time.Second, func() bool { return first.leads(t) && !second.leads(t) })
	toSecond.Set(netfault.Mode{})
	eventually(t, "the second core leads", 60*time.Second, func() bool { return second.leads(t) })
	arrives()

	toFirst.Set(netfault.Mode{})
	eventually(t, "the first core reaches the engine", 30*time.Second, func() bool { return first.metric(t, "taskfeed_engine_up") == "1" })
	arrives()
	eventually(t, "the second core leads still", 10*time.Second, func() bool { return second.leads(t) && !first.leads(t) })
}
