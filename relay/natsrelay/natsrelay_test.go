package natsrelay_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/lab/leaktest"
	"github.com/taskfeed/taskfeed/lab/natstest"
	"github.com/taskfeed/taskfeed/lab/relaytest"
	"github.com/taskfeed/taskfeed/relay"
	"github.com/taskfeed/taskfeed/relay/natsrelay"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func connect(t *testing.T, urls string) *natsrelay.Transport {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tr, err := natsrelay.Connect(ctx, natsrelay.Config{URLs: urls, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatalf("Connect: %v", err)
	}
	t.Cleanup(tr.Close)
	return tr
}

func TestContractOverOneServer(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, "")
	relaytest.Contract(t, relaytest.Engine{
		Connect: func(t *testing.T) relay.Transport { return connect(t, s.URL()) },
		Break: func(t *testing.T) {
			s.Kill()
			s.Start(t)
		},
	})
}

// Each transport begins at another server of the cluster; one server after the other is
// killed.
func TestContractOverACluster(t *testing.T) {
	t.Parallel()
	servers := natstest.Cluster(t)
	next := 0
	relaytest.Contract(t, relaytest.Engine{
		Connect: func(t *testing.T) relay.Transport {
			next++
			var urls []string
			for i := range servers {
				urls = append(urls, servers[(next+i)%len(servers)].URL())
			}
			return connect(t, strings.Join(urls, ","))
		},
		Break: func(t *testing.T) {
			for _, s := range servers {
				s.Kill()
				s.Start(t)
			}
		},
	})
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, urls := range []string{"nats://a:4222", "tls://a:4222, nats://u:p@b"} {
		if err := natsrelay.Check(urls); err != nil {
			t.Errorf("%s: %v, want it to be accepted", urls, err)
		}
	}
	for _, urls := range []string{"", "a:4222", "http://a:4222", "nats://a,,", "postgres://u:secret@a/b"} {
		if err := natsrelay.Check(urls); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want an error without the secret", urls, err)
		}
	}
}
