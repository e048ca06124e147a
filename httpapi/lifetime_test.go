package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/internal/wsframe"
	"github.com/taskfeed/taskfeed/lab/wstest"
)

// verifierOf accepts the tokens alice, bob and soon; soon is a token of alice that
// expires at that moment. The token down cannot be verified now; panic panics.
func verifierOf(soon time.Time) fakeVerifier {
	return func(token string) (auth.Principal, error) {
		switch token {
		case "alice", "bob":
			return auth.Principal{UserID: token, ExpiresAt: time.Now().Add(time.Hour)}, nil
		case "soon":
			return auth.Principal{UserID: "alice", ExpiresAt: soon}, nil
		case "down":
			return auth.Principal{}, &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "the keys cannot be fetched"}
		case "panic":
			panic("a fault planted by a test")
		}
		return auth.Principal{}, &taskfeed.Error{Code: taskfeed.CodeBadToken, Message: "the token is not signed with a known key"}
	}
}

func TestTokenLifetime(t *testing.T) {
	t.Parallel()
	dial := func(f *fixture, token string) *wstest.Client {
		return wstest.Dial(f.t, f.url+"/ws/alice?token="+token, wstest.Options{})
	}
	// The server checks the expiry once per ping interval.
	start := func(t *testing.T, soon time.Duration) *fixture {
		return serve(t, setup{
			cfg:  Config{PingInterval: 100 * time.Millisecond, MessagesPerMinute: -1},
			deps: Deps{Verifier: verifierOf(time.Now().Add(soon))},
		})
	}
	auth := func(token string) string { return fmt.Sprintf(`{"type":"auth","token":%q}`, token) }

	t.Run("a connection ends when its token expires", func(t *testing.T) {
		t.Parallel()
		c := dial(start(t, 300*time.Millisecond), "soon")
		if got := c.ExpectClose(taskfeed.CloseBadToken); !strings.Contains(got, "expired") {
			t.Errorf("reason %q, want it to say that the token has expired", got)
		}
	})
	t.Run("a renewal extends the connection and is not answered", func(t *testing.T) {
		t.Parallel()
		const soon = 500 * time.Millisecond
		first := time.Now().Add(soon)
		c := dial(start(t, soon), "soon")
		c.Send(auth("alice"))
		for look := first.Add(soon); time.Now().Before(look); {
			c.ExpectQuiet() // also after the first token has expired
		}
	})
	t.Run("a renewal with a shorter lifetime shortens it", func(t *testing.T) {
		t.Parallel()
		c := dial(start(t, 300*time.Millisecond), "alice")
		c.Send(auth("soon"))
		c.ExpectClose(taskfeed.CloseBadToken)
	})
	t.Run("bad input 37: renewal for another user, forged, missing", func(t *testing.T) {
		t.Parallel()
		f := start(t, time.Hour)
		for message, code := range map[string]int{
			auth("bob"):             taskfeed.CloseForbidden,
			auth("forged"):          taskfeed.CloseBadToken,
			auth(""):                taskfeed.CloseBadToken,
			`{"type":"auth"}`:       taskfeed.CloseBadToken,
			` {"type":"auth"}`[1:]:  taskfeed.CloseBadToken,
			auth("forged") + "  \n": taskfeed.CloseBadToken,
		} {
			c := dial(f, "alice")
			c.Send(message)
			c.ExpectClose(code)
		}
	})
	t.Run("a renewal that cannot be verified now changes nothing", func(t *testing.T) {
		t.Parallel()
		f := start(t, time.Hour)
		c := dial(f, "alice")
		c.Send(auth("down"))
		c.ExpectQuiet()
		got := wstest.Refused(t, f.url+"/ws/alice?token=down", wstest.Options{})
		expectProblem(t, got, 503, taskfeed.CodeUnavailable)
	})
}

func TestPanicCostsOneConnection(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{deps: Deps{Verifier: verifierOf(time.Time{})}})
	bystander := wstest.Dial(t, f.url+"/ws/bob?token=bob", wstest.Options{})

	t.Run("while it is read", func(t *testing.T) {
		c := wstest.Dial(t, f.url+"/ws/alice?token=alice", wstest.Options{})
		c.Send(`{"type":"auth","token":"panic"}`)
		c.ExpectClose(wsframe.CloseInternal)
	})
	t.Run("while it is written", func(t *testing.T) {
		f.log.add("alice", "hello", `{}`)
		f.log.failWith(func() error { panic("a fault planted by a test") })
		wstest.Dial(t, f.url+"/ws/alice?token=alice&after=0", wstest.Options{}).ExpectClose(wsframe.CloseInternal)
		f.log.failWith(nil)
	})
	t.Run("in a handler", func(t *testing.T) {
		expectProblem(t, wstest.Refused(t, f.url+"/ws/alice?token=panic", wstest.Options{}), 500, taskfeed.CodeInternal)
		f.eventually("the stack is in the log", func() bool { return len(f.logs.lines(`"level":"ERROR"`, "PanicError")) >= 3 })
	})
	bystander.ExpectQuiet()
	if got := f.metric("taskfeed_connection_panics_total"); got != 2 {
		t.Errorf("%v panics are counted, want 2", got)
	}
}

func TestSlowReader(t *testing.T) {
	t.Parallel()
	cfg := Config{SendBufferBytes: 64 << 10, WriteTimeout: 2 * time.Second, CloseTimeout: wstest.Patience}
	// flood sends more than the socket buffers hold.
	flood := func(f *fixture) []taskfeed.Cursor {
		data := make([]string, 20)
		for i := range data {
			data[i] = `{"message":"` + strings.Repeat("x", 100<<10) + `"}`
		}
		return f.log.add("alice", taskfeed.TypeTaskProgress, data...)
	}
	dialSlow := func(f *fixture) *wstest.Raw {
		f.t.Helper()
		c := f.dialRaw("alice")
		if err := c.Conn.SetReadBuffer(4 << 10); err != nil {
			f.t.Fatalf("set read buffer: %v", err)
		}
		return c
	}

	t.Run("it is closed with 4008 and other clients are not affected", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{cfg: cfg})
		slow, other := dialSlow(f), f.dial("alice")
		var wg sync.WaitGroup
		wg.Go(func() { flood(f) })
		defer wg.Wait()
		for id := range taskfeed.Cursor(20) {
			other.ExpectEvent(id + 1)
		}
		f.eventually("its place is free", func() bool { return f.hub.Stats().Reserved == 1 })
		slow.ExpectClose(taskfeed.CloseSlow) // it reads again in time, and no frame is cut
		slow.Send(wstest.Close(taskfeed.CloseSlow, ""))
		slow.ExpectEnd()
		f.eventually("it is counted", func() bool { return f.metric("taskfeed_slow_closes_total") == 1 })
		if got := f.metric(`taskfeed_closes_total{code="4008"}`); got != 1 {
			t.Errorf("%v closes with 4008 are counted, want 1", got)
		}
	})

	t.Run("a client that never reads again is disconnected", func(t *testing.T) {
		t.Parallel()
		cfg := cfg
		cfg.CloseTimeout = 50 * time.Millisecond
		f := serve(t, setup{cfg: cfg})
		dialSlow(f)
		flood(f)
		f.awaitEnd(1)
	})

	t.Run("reading single bytes is too slow", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{cfg: cfg})
		slow := dialSlow(f)
		flood(f)
		one := make([]byte, 1)
		f.eventually("its place is free", func() bool {
			if _, err := slow.Conn.Read(one); err != nil {
				t.Fatalf("read: %v", err)
			}
			return f.hub.Stats().Reserved == 0
		})
	})
}

func TestDrain(t *testing.T) {
	t.Parallel()

	t.Run("every socket gets 1012 and none is cut", func(t *testing.T) {
		t.Parallel()
		const count = 20
		f := serve(t, setup{cfg: Config{Drain: 200 * time.Millisecond}})
		var clients []*wstest.Client
		for range count {
			clients = append(clients, f.dial("alice"))
		}
		f.stop()
		var wg sync.WaitGroup
		for _, c := range clients {
			wg.Go(func() {
				if code, reason := c.Closed(); code != wsframe.CloseRestart {
					t.Errorf("close code %d (%s), want 1012", code, reason)
				}
			})
		}
		wg.Wait()
		if err := f.wait(); err != nil {
			t.Errorf("Run returned %v, want nil", err)
		}
	})

	t.Run("a peer that does not answer delays it by CloseTimeout at most", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{cfg: Config{CloseTimeout: 50 * time.Millisecond}})
		f.dialRaw("alice")
		f.stop()
		if err := f.wait(); err != nil {
			t.Errorf("Run returned %v, want nil", err)
		}
	})

	t.Run("the log cannot be read", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{})
		f.log.add("alice", "hello", `{}`)
		f.log.failWith(func() error { return errors.New("connection refused") })
		c := f.dial("alice", "after=0")
		f.stop()
		c.ExpectClose(wsframe.CloseRestart)
		if err := f.wait(); err != nil {
			t.Errorf("Run returned %v, want nil", err)
		}
	})
}

// TestBadInput22Draining: a server that drains is alive, is not ready and takes no feeds.
func TestBadInput22Draining(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{cfg: Config{DrainDelay: 3 * time.Second}})
	c := f.dial("alice")
	url := f.feedURL("alice")
	f.stop()
	f.eventually("it is not ready", func() bool { return f.feeds.IsClosed() })
	if resp, body := f.get("/readyz?verbose"); resp.StatusCode != 503 || !strings.Contains(body, `{"name":"not_draining","ok":false}`) {
		t.Errorf("readyz: %d %s, want 503 because it drains", resp.StatusCode, body)
	}
	if resp, _ := f.get("/healthz"); resp.StatusCode != 200 {
		t.Errorf("healthz: %d, want 200", resp.StatusCode)
	}
	got := wstest.Refused(t, url, wstest.Options{})
	expectProblem(t, got, 503, taskfeed.CodeUnavailable)
	if got.Header.Get("Retry-After") == "" {
		t.Error("there is no Retry-After")
	}
	c.ExpectClose(wsframe.CloseRestart)
}

func TestListenerBreaks(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{cfg: Config{CloseTimeout: 50 * time.Millisecond}})
	f.dial("alice").ExpectQuiet()
	if err := f.cfg.Listener.Close(); err != nil {
		t.Fatalf("close listener: %v", err)
	}
	if err := f.wait(); err == nil {
		t.Error("Run returned nil, want an error")
	}
	<-f.done
	f.done <- nil // expected
}

func TestUpgradeRacesDrain(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	var wg sync.WaitGroup
	for i := range 20 {
		r := must(http.NewRequest(http.MethodGet, f.feedURL(fmt.Sprint("user-", i)), nil))
		r.Header = wstest.HandshakeHeader(nil)
		wg.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			if resp, err := transport.RoundTrip(r); err == nil {
				_ = resp.Body.Close() // of the connection, if it was upgraded
			}
		})
	}
	f.stop()
	wg.Wait()
	if err := f.wait(); err != nil {
		t.Errorf("Run returned %v, want nil", err)
	}
	if got := f.hub.Stats(); got.Reserved != 0 || got.Subscribers != 0 {
		t.Errorf("%d reservations and %d subscribers are left, want none", got.Reserved, got.Subscribers)
	}
}
