package wsframe_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/lab/leaktest"
	"github.com/taskfeed/taskfeed/lab/wstest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// server is a server with an empty log.
type server struct {
	t   *testing.T
	url string
}

var authConfig = auth.Config{Secret: []byte("a secret of the tests, 32 bytes long")}

// serve starts a server and ends it with the test.
func serve(t *testing.T) *server {
	t.Helper()
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	feeds := must(hub.New(emptyLog{}, hub.Config{}))
	feeds.SetHead(0)
	deps := httpapi.Deps{Hub: feeds, Verifier: must(auth.New(authConfig)), Log: slog.New(slog.DiscardHandler)}
	api := must(httpapi.New(deps, httpapi.Config{Listener: listener, Drain: -1, CheckInterval: -1, CloseTimeout: 2 * time.Second}))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- api.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v, want nil", err)
		}
	})
	return &server{t, "http://" + listener.Addr().String()}
}

// dial connects a client that does nothing by itself.
func (s *server) dial(userID string, header http.Header) *wstest.Raw {
	s.t.Helper()
	return wstest.DialRaw(s.t, s.url+"/ws/"+userID+"?token="+must(auth.Issue(authConfig, userID, "", time.Hour)), header)
}

// ignored is how many messages the server has read and not understood.
func (s *server) ignored() (count int) {
	s.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: wstest.Patience}
	resp := must(client.Get(s.url + "/metrics"))
	defer resp.Body.Close()
	for line := range strings.Lines(string(must(io.ReadAll(resp.Body)))) {
		if n, _ := fmt.Sscanf(line, "taskfeed_inbound_ignored_total %d", &count); n == 1 {
			return count
		}
	}
	s.t.Fatal("the metric is missing")
	return 0
}

// emptyLog is a log without events.
type emptyLog struct{}

// After implements hub.Log.
func (emptyLog) After(context.Context, taskfeed.Filter, taskfeed.Cursor, int) ([]taskfeed.Event, taskfeed.Cursor, bool, error) {
	return nil, 0, false, nil
}

// Head implements hub.Log.
func (emptyLog) Head(context.Context) (taskfeed.Cursor, error) { return 0, nil }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
