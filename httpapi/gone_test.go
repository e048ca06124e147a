package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/store/history"
)

// patient is a verifier and a history that block until the request is canceled.
type patient struct {
	*fakeHistory
	entered chan struct{}
	fail    func(context.Context) error
}

func (p patient) wait(ctx context.Context) error {
	p.entered <- struct{}{}
	<-ctx.Done()
	return p.fail(ctx)
}

func (p patient) Verify(ctx context.Context, _ string) (auth.Principal, error) {
	return auth.Principal{}, p.wait(ctx)
}

func (p patient) ListTasks(ctx context.Context, _ history.TaskQuery) (history.TaskPage, error) {
	return history.TaskPage{}, p.wait(ctx)
}

// TestBadInput139HangingUp: a client that hung up while its answer was prepared was
// logged with status 500 and code internal, which raises alarms. It must be 499 on
// every route, whatever error the canceled query returns.
func TestBadInput139HangingUp(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(context.Context) error{
		"canceled": func(ctx context.Context) error { return fmt.Errorf("list tasks: %w", ctx.Err()) },
		"internal": func(ctx context.Context) error { return &taskfeed.Error{Code: taskfeed.CodeInternal, Err: ctx.Err()} },
		"unavailable": func(ctx context.Context) error {
			return &taskfeed.Error{Code: taskfeed.CodeUnavailable, Err: ctx.Err()}
		},
		"a fault": func(context.Context) error { return errors.New("planted fault") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slow := patient{&fakeHistory{}, make(chan struct{}), fail}
			f := serve(t, setup{deps: Deps{History: slow, Verifier: slow, Commands: &fakeCommands{}, Sources: fakeSources{}, Samples: fakeSamples{}}})
			routes := append(append([]string{"GET /v1/events/stream", "GET /ws/alice", "HEAD /v1/me"}, adminRoutes...), userRoutes...)
			for _, route := range routes {
				hangUp(t, f.url, route, "Bearer x", slow.entered)
			}
			reads := serve(t, setup{deps: Deps{History: slow}})
			for _, route := range []string{"GET /v1/tasks?limit=200", "GET /v1/me/tasks"} {
				hangUp(t, reads.url, route, "Bearer "+reads.adminToken(), slow.entered)
			}
			f.eventually("all are logged", func() bool {
				return len(f.logs.lines(`"msg":"request"`, `"status":499`, `"cut":"client_gone"`)) == len(routes) && len(reads.logs.lines(`"status":499`)) == 2
			})
			for _, log := range []*logBuffer{f.logs, reads.logs} {
				if got := append(log.lines(`"status":5`), log.lines(`"code":"internal"`)...); len(got) > 0 {
					t.Errorf("got %v, want no 5xx", got)
				}
				if got := len(log.lines(`"level":"ERROR"`, "planted fault")) > 0; got != (name == "a fault") {
					t.Errorf("a fault is logged: %v, want that of a fault alone", got)
				}
			}
			if got := f.metric(`taskfeed_handshake_refusals_total{code="client_gone"}`); got != 2 {
				t.Errorf("%v handshakes whose clients hung up are counted, want 2", got)
			}
		})
	}
}

// hangUp sends a request and closes the connection while the server handles it.
func hangUp(t *testing.T, server, route, authorization string, entered <-chan struct{}) {
	t.Helper()
	address := strings.TrimPrefix(server, "http://")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	upgrade := ""
	if strings.Contains(route, "/ws/") {
		upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	}
	fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\n%s\r\n", route, address, authorization, upgrade)
	<-entered
}
