package natsrelay_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

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

// A question that was under way when the connection broke was waited for until its time
// was over, and a gateway asked nobody else meanwhile.
func TestAQuestionEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, "")
	core, gateway := connect(t, s.URL()), connect(t, s.URL())
	asked := make(chan struct{})
	stop, err := core.Answer("ask", func(ctx context.Context, _ []byte) []byte {
		close(asked)
		<-ctx.Done()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		err := nats.ErrNoResponders
		for errors.Is(err, nats.ErrNoResponders) { // until the server knows of the answerer
			_, err = gateway.Request(ctx, "ask", []byte("?"))
		}
		failed <- err
	}()
	<-asked
	s.Kill()
	select {
	case err := <-failed:
		if err == nil {
			t.Error("the question was answered, want an error")
		}
	case <-time.After(time.Minute):
		t.Error("the question still waits a minute after its connection was lost")
	}
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
