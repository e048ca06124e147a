package relay_test

import (
	"sync"
	"testing"

	"github.com/taskfeed/taskfeed/lab/relaytest"
	"github.com/taskfeed/taskfeed/relay"
)

// The network that the tests use keeps the contract of every transport.
func TestContractInMemory(t *testing.T) {
	t.Parallel()
	net := relaytest.NewNet(1 << 20)
	var mu sync.Mutex
	var links []*relaytest.Link
	relaytest.Contract(t, relaytest.Engine{
		Connect: func(*testing.T) relay.Transport {
			mu.Lock()
			defer mu.Unlock()
			links = append(links, net.Connect())
			return links[len(links)-1]
		},
		Break: func(*testing.T) {
			mu.Lock()
			defer mu.Unlock()
			for _, l := range links {
				l.Cut()
				l.Heal()
			}
		},
	})
}

// An engine that does not take the largest event is refused with what to do.
func TestASmallPayloadIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := relay.NewPublisher(relaytest.NewNet(64<<10).Connect(), nil, relay.PublisherConfig{}); err == nil {
		t.Error("64 KiB are accepted, want an error")
	}
}
