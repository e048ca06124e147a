package httpapi

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/wsframe"
	"github.com/taskfeed/taskfeed/lab/wstest"
)

// TestPlainClient is bad input 24 for a client that sends no cursor.
func TestPlainClient(t *testing.T) {
	t.Parallel()

	t.Run("it gets its events and no other frame", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{})
		f.log.add("alice", taskfeed.TypeTaskQueued, `{"kind":"before it came"}`)
		c := f.dial("alice")
		c.ExpectQuiet()

		f.log.add("alice", taskfeed.TypeTaskStarted, `{"progress":0}`)
		f.log.add("bob", taskfeed.TypeTaskStarted, `{"progress":0}`)
		f.log.add("alice", taskfeed.TypeTaskProgress, `{"progress":40,"message":"rendering"}`)
		f.log.add("", "maintenance", `{"at":"noon"}`)
		f.log.add("alice", taskfeed.TypeTaskCompleted, `{"result":{"count":5}}`)
		for i, want := range []string{
			`"type":"task_started","timestamp":"`,
			`"task_id":"task-1","version":4,"progress":40,"message":"rendering"}`,
			`"type":"maintenance"`,
			`"result":{"count":5}}`,
		} {
			if got := c.Text(); !strings.Contains(got, want) {
				t.Errorf("frame %d is %s, want it to hold %s", i, got, want)
			}
		}
		c.ExpectQuiet()
	})

	t.Run("it is told that its token is bad, or another user's", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{})
		wstest.Dial(t, f.url+"/ws/alice?token=nonsense", wstest.Options{}).ExpectClose(taskfeed.CloseBadToken)
		wstest.Dial(t, f.url+"/ws/alice?token="+f.token("bob"), wstest.Options{}).ExpectClose(taskfeed.CloseForbidden)
		f.awaitEnd(2)
	})

	t.Run("a user id with odd characters", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{})
		for _, userID := range []string{"a/b", "a%2Fb", "ü ber", "a+b", "..", "100%", "ws", "a?b#c", ":user_id", "*"} {
			c := wstest.Dial(t, f.url+"/ws/"+url.PathEscape(userID)+"?token="+f.token(userID), wstest.Options{})
			c.ExpectQuiet()
			id := f.log.add(userID, "hello", `{}`)[0]
			c.ExpectEvent(id)
		}
	})
}

func TestFeedWithCursor(t *testing.T) {
	t.Parallel()

	t.Run("all after the cursor, then feed_live, then live", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{})
		ids := f.log.add("alice", taskfeed.TypeTaskProgress, `{"progress":1}`, `{"progress":2}`, `{"progress":3}`)
		c := f.dial("alice", "after="+ids[0].String())
		c.ExpectEvent(ids[1])
		c.ExpectEvent(ids[2])
		c.ExpectLive(ids[2])
		c.ExpectEvent(f.log.add("alice", taskfeed.TypeTaskProgress, `{"progress":4}`)[0])
	})

	t.Run("bad input 24: after=0 and after=head", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{})
		ids := f.log.add("alice", taskfeed.TypeTaskProgress, `{"progress":1}`, `{"progress":2}`)
		all := f.dial("alice", "after=0")
		all.ExpectEvent(ids[0])
		all.ExpectEvent(ids[1])
		all.ExpectLive(ids[1])
		f.dial("alice", "after="+ids[1].String()).ExpectLive(ids[1])
	})

	t.Run("bad input 26: a cursor ahead of the log or older than it", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{first: 100})
		f.log.add("alice", taskfeed.TypeTaskProgress, `{"progress":1}`)
		for after, want := range map[string]taskfeed.ResetReason{"7": taskfeed.ResetExpired, "5000": taskfeed.ResetAhead} {
			c := f.dial("alice", "after="+after)
			if got := c.Frame(); got.Type != taskfeed.TypeFeedReset || got.Reason != want {
				t.Errorf("after=%s: frame %s with reason %q, want feed_reset with %q", after, got.Type, got.Reason, want)
			}
		}
	})

	t.Run("the subprotocol without a cursor starts live and says so", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{})
		id := f.log.add("alice", taskfeed.TypeTaskProgress, `{"progress":1}`)[0]
		c := wstest.Dial(t, f.url+"/ws/alice", wstest.Options{Subprotocols: []string{"taskfeed.v1", "bearer." + f.token("alice")}})
		if got := c.Response.Header.Get("Sec-Websocket-Protocol"); got != "taskfeed.v1" {
			t.Errorf("subprotocol %q, want taskfeed.v1", got)
		}
		c.ExpectLive(id)
		c.ExpectEvent(f.log.add("alice", taskfeed.TypeTaskProgress, `{"progress":2}`)[0])
	})
}

// TestLongReplay: a replay reads the log in many pages, with frames of 250 KiB at both ends.
func TestLongReplay(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	great := `{"result":"` + strings.Repeat("x", 250<<10) + `"}`
	data := []string{great}
	for i := range 3000 {
		data = append(data, fmt.Sprintf(`{"message":"%0*d"}`, i%300, i))
	}
	ids := f.log.add("alice", taskfeed.TypeTaskProgress, append(data, great)...)
	c := f.dial("alice", "after=0")
	for i, id := range ids {
		if got := c.ExpectEvent(id).Event.Data; i > 0 && string(got) != append(data, great)[i] {
			t.Fatalf("data of event %d differs from what was sent", id)
		}
	}
	c.ExpectLive(ids[len(ids)-1])
}

func TestFeedOutlivesOutageOfLog(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	id := f.log.add("alice", taskfeed.TypeTaskProgress, `{"progress":1}`)[0]
	f.log.failWith(func() error { return errors.New("connection refused") })
	c := f.dial("alice", "after=0")
	c.ExpectQuiet() // pongs do not wait for the log
	f.eventually("the log was tried again", func() bool { return f.metric("taskfeed_feed_errors_total") >= 2 })
	f.log.failWith(nil)
	c.ExpectEvent(id)
	c.ExpectLive(id)
	if got := len(f.logs.lines(`"event log not readable`)); got != 1 {
		t.Errorf("the outage has %d lines in the log, want 1", got)
	}
}

func TestSeveralConnectionsOfOneUser(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	var clients []*wstest.Client
	for range 5 {
		clients = append(clients, f.dial("alice"))
	}
	other := f.dial("bob")
	f.log.add("alice", taskfeed.TypeTaskProgress, `{"progress":1}`)
	first := clients[0].Text()
	for i, c := range clients[1:] {
		if got := c.Text(); got != first {
			t.Errorf("client %d got %s, want the same bytes as the first: %s", i+1, got, first)
		}
	}
	other.ExpectQuiet()
	if got := len(f.connections()); got != 6 {
		t.Errorf("%d connections are listed, want 6", got)
	}
}

func TestDeadConnection(t *testing.T) {
	t.Parallel()
	quick := Config{PingInterval: 40 * time.Millisecond, PongTimeout: 40 * time.Millisecond}

	t.Run("a peer that answers no ping is closed with 4009 and removed", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{cfg: quick})
		c := f.dialRaw("alice")
		if got := c.Read().Op; got != wsframe.OpPing {
			t.Errorf("first frame has opcode %#x, want a ping", got)
		}
		c.ExpectClose(taskfeed.CloseNoPong)
		f.eventually("the connection is removed", func() bool { return f.hub.Stats().Subscribers == 0 && len(f.connections()) == 0 })
	})

	t.Run("any frame counts as a pong", func(t *testing.T) {
		t.Parallel()
		for name, answer := range map[string]wstest.Frame{
			"a pong": {Fin: true, Op: wsframe.OpPong}, "a ping": wstest.Ping("x"), "a text": wstest.Text("hello"),
		} {
			f := serve(t, setup{cfg: Config{PingInterval: 50 * time.Millisecond, PongTimeout: 2 * time.Second, MessagesPerMinute: -1}})
			c := f.dialRaw("alice")
			for until := time.Now().Add(3 * time.Second); time.Now().Before(until); {
				if got := c.Read(); got.Op == wsframe.OpPing {
					c.Send(answer)
				} else if got.Op == wsframe.OpClose {
					t.Fatalf("%s as answer to pings: got a close frame %q, want none", name, got.Payload)
				}
			}
		}
	})

	t.Run("a peer that vanishes is removed", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{})
		f.dial("alice").Drop()
		f.eventually("the connection is removed", func() bool { return f.hub.Stats().Reserved == 0 && len(f.connections()) == 0 })
		f.eventually("it is counted as 1006", func() bool { return f.metric(`taskfeed_closes_total{code="1006"}`) == 1 })
	})
}
