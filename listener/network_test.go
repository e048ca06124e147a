package listener_test

import (
	"testing"

	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/listener"
	"github.com/taskfeed/taskfeed/store"
)

// When the network resets connections, or drops packets silently, leader and
// follower notice, connect again and go on.
func TestNetworkFails(t *testing.T) {
	t.Parallel()

	t.Run("connections are reset", func(t *testing.T) {
		t.Parallel()
		url := pgtest.New(t)
		net, through := pgtest.Network(t, url)
		a := start(t, store.Config{URL: through}, listener.Config{}, nil)
		a.leads(t)
		b := start(t, store.Config{URL: through}, listener.Config{}, nil)
		b.follows(t)
		app := pgtest.Connect(t, url)
		for range 5 {
			add(t, app, 5)
			net.Reset()
			add(t, app, 5)
		}
		publishesLog(t, app, 50, a, b)
	})

	t.Run("packets are dropped", func(t *testing.T) {
		t.Parallel()
		url := pgtest.New(t)
		net, through := pgtest.Network(t, url)
		a := start(t, store.Config{URL: through, StallTimeout: stall}, listener.Config{}, nil)
		a.leads(t)
		app := pgtest.Connect(t, url)
		add(t, app, 5)
		a.has(t, 5)
		defer net.Hold()()
		add(t, app, 5)
		publishesLog(t, app, 10, a)
	})

	t.Run("packets are dropped when it stops", func(t *testing.T) {
		t.Parallel()
		url := pgtest.New(t)
		net, through := pgtest.Network(t, url)
		s := start(t, store.Config{URL: through}, listener.Config{}, nil)
		s.leads(t)
		defer net.Hold()()
		s.stop()
	})
}
