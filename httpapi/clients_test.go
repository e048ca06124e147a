package httpapi

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/wsframe"
	"github.com/taskfeed/taskfeed/lab/wstest"
)

// fakeClients keeps the cursors of clients in memory.
type fakeClients struct {
	mu     sync.Mutex
	at     map[string]taskfeed.ClientMark // by user and name
	writes []string                       // the marks of each
	err    error
}

func (c *fakeClients) TakeClient(_ context.Context, userID, name string, after *taskfeed.Cursor, head taskfeed.Cursor) (taskfeed.Cursor, int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, 0, c.err
	}
	if c.at == nil {
		c.at = make(map[string]taskfeed.ClientMark)
	}
	client, ok := c.at[userID+" "+name]
	if !ok {
		client.Through = head
	}
	if after != nil {
		client.Through = *after
	}
	client.ClientTurn = taskfeed.ClientTurn{UserID: userID, Name: name, Turn: client.Turn + 1}
	client.Gone = false
	c.at[userID+" "+name] = client
	return client.Through, client.Turn, nil
}

func (c *fakeClients) MoveClients(_ context.Context, marks []taskfeed.ClientMark) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var said []string
	for _, m := range marks {
		key := m.UserID + " " + m.Name
		said = append(said, fmt.Sprintf("%s %d %t", key, m.Through, m.Gone))
		if at := c.at[key]; c.err == nil && m.Turn >= at.Turn {
			m.Through = max(m.Through, at.Through)
			c.at[key] = m
		}
	}
	c.writes = append(c.writes, strings.Join(said, ", "))
	return c.err
}

func (c *fakeClients) Clients(_ context.Context, userID string) (found []taskfeed.NamedClient, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.at {
		if m.UserID == userID {
			at := time.Date(2026, 11, 22, 10, 0, 2, 0, time.UTC)
			found = append(found, taskfeed.NamedClient{Name: m.Name, Cursor: m.Through, Connected: !m.Gone, SeenAt: at, Deliveries: []taskfeed.Delivery{{Through: m.Through, At: at}}})
		}
	}
	return found, c.err
}

func (c *fakeClients) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// of returns where a client's cursor is, and whether it has gone.
func (c *fakeClients) of(key string) (taskfeed.Cursor, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at[key].Through, c.at[key].Gone
}

func (c *fakeClients) written() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.writes)
}

func serveClients(t *testing.T) (*fixture, *fakeClients) {
	t.Helper()
	c := &fakeClients{}
	return serve(t, setup{first: 100, deps: Deps{Clients: c}, cfg: Config{MessagesPerMinute: -1}}), c
}

// awaitClient has c read, and so answer pings, until a client's cursor is at an id.
func (f *fixture) awaitClient(c *wstest.Client, clients *fakeClients, key string, want taskfeed.Cursor) {
	f.t.Helper()
	f.eventually(fmt.Sprintf("the cursor of %s is at %d", key, want), func() bool {
		if c != nil {
			c.ExpectQuiet()
		}
		at, _ := clients.of(key)
		if at > want {
			f.t.Fatalf("the cursor of %s is at %d, want %d", key, at, want)
		}
		return at == want
	})
}

// A plain client with a name gets what it missed, from what its pongs have proven on, and
// no frame that is no event.
func TestNamedClientGetsWhatItMissed(t *testing.T) {
	t.Parallel()
	f, clients := serveClients(t)
	c := f.dial("alice", "client=web")
	c.ExpectQuiet() // a new client begins live
	ids := f.log.add("alice", "news", `{}`, `{}`, `{}`)
	for _, id := range ids {
		c.ExpectEvent(id)
	}
	f.awaitClient(c, clients, "alice web", ids[2])
	c.Drop()
	f.eventually("the client has gone", func() bool { _, gone := clients.of("alice web"); return gone })
	missed := f.log.add("alice", "news", `{}`, `{}`)
	c = f.dial("alice", "client=web")
	c.ExpectEvent(missed[0])
	c.ExpectEvent(missed[1])
	c.ExpectQuiet()
	phone := f.dialWith("alice", nil, "client=phone", "after="+ids[2].String()) // a cursor of its own, and so feed_live
	phone.ExpectEvent(missed[0])
	phone.ExpectEvent(missed[1])
	phone.ExpectLive(missed[1])
	back := f.dial("alice", "client=web", "after="+ids[0].String()) // which counts in place of the stored one
	for _, id := range append(ids[1:], missed...) {
		back.ExpectEvent(id)
	}
	back.ExpectLive(missed[1])
}

// What was written and not answered for is sent again. A pong proves no more than what was
// written before its ping.
func TestOnlyPongsMoveTheCursor(t *testing.T) {
	t.Parallel()
	f, clients := serveClients(t)
	raw := f.dialRaw("alice", "client=web")
	read := func(want wsframe.Opcode) string {
		t.Helper()
		for {
			if frame := raw.Read(); frame.Op == want {
				return string(frame.Payload)
			}
		}
	}
	first := f.log.add("alice", "news", `{}`)[0]
	read(wsframe.OpText)
	question := read(wsframe.OpPing)
	if question != first.String() {
		t.Fatalf("the ping carries %q, want %d", question, first)
	}
	second := f.log.add("alice", "news", `{}`)[0]
	read(wsframe.OpText)
	for _, forged := range []string{second.String(), "x", "", "99999999999999999999"} {
		raw.Send(wstest.Frame{Fin: true, Op: wsframe.OpPong, Payload: []byte(forged)})
	}
	raw.Send(wstest.Text("ping"))
	if got := read(wsframe.OpText); got != "pong" { // the server has read all that
		t.Fatalf("answered %q, want pong", got)
	}
	if at, _ := clients.of("alice web"); at != 100 {
		t.Errorf("the cursor is at %d before any proof, want 100", at)
	}
	raw.Send(wstest.Frame{Fin: true, Op: wsframe.OpPong, Payload: []byte(question)})
	f.awaitClient(nil, clients, "alice web", first)
	raw.SendBytes(wstest.Close(1000, "").Bytes())
	raw.ExpectClose(1000)
	c := f.dial("alice", "client=web")
	c.ExpectEvent(second) // nothing has proven that it arrived
	f.awaitClient(c, clients, "alice web", second)
}

// Of two connections with one name the later one moves the cursor.
func TestOneNameTwice(t *testing.T) {
	t.Parallel()
	f, clients := serveClients(t)
	first := f.dial("alice", "client=web")
	late := f.dialRaw("alice", "client=web")
	id := f.log.add("alice", "news", `{}`)[0]
	first.ExpectEvent(id)
	late.Read()
	question := late.Read()
	first.ExpectQuiet()
	first.Close(1000)
	f.awaitEnd(1)
	phone := f.dial("alice", "client=phone") // its mark is written with or after that of the first
	second := f.log.add("alice", "news", `{}`)[0]
	phone.ExpectEvent(second)
	f.awaitClient(phone, clients, "alice phone", second)
	if at, gone := clients.of("alice web"); at != 100 || gone {
		t.Errorf("the cursor is at %d, gone %t, want 100 and the later connection there", at, gone)
	}
	late.Send(wstest.Frame{Fin: true, Op: wsframe.OpPong, Payload: question.Payload})
	f.awaitClient(nil, clients, "alice web", id)
}

// However many events come, all marks are written once a second.
func TestClientsAreWrittenOnceASecond(t *testing.T) {
	t.Parallel()
	f, clients := serveClients(t)
	began := time.Now()
	web, phone := f.dial("alice", "client=web"), f.dial("alice", "client=phone")
	var last taskfeed.Cursor
	for range 50 {
		last = f.log.add("alice", "news", `{}`)[0]
		web.ExpectEvent(last)
		phone.ExpectEvent(last)
	}
	f.eventually("both are at the end", func() bool {
		web.ExpectQuiet()
		phone.ExpectQuiet()
		one, _ := clients.of("alice web")
		two, _ := clients.of("alice phone")
		return one == last && two == last
	})
	if got, most := clients.written(), 1+int(time.Since(began)/time.Second); len(got) > most {
		t.Errorf("written %q, want at most %d writes in %v", got, most, time.Since(began))
	}
}

// Marks wait while the database is away; a client that comes then is refused, because
// nobody knows what it missed.
func TestClientsWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	f, clients := serveClients(t)
	c := f.dial("alice", "client=web")
	clients.fail(&taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "away"})
	id := f.log.add("alice", "news", `{}`)[0]
	c.ExpectEvent(id)
	f.eventually("a write has failed", func() bool { c.ExpectQuiet(); return len(clients.written()) > 0 })
	expectProblem(t, wstest.Refused(t, f.feedURL("alice", "client=web"), wstest.Options{}), 503, taskfeed.CodeUnavailable)
	clients.fail(&taskfeed.Error{Code: taskfeed.CodeTooManyClients, Message: "too many"})
	expectProblem(t, wstest.Refused(t, f.feedURL("alice", "client=one_more"), wstest.Options{}), 409, taskfeed.CodeTooManyClients)
	if open := len(f.connections()); open != 1 {
		t.Errorf("%d connections, want 1", open)
	}
	clients.fail(&taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "away"})
	c.Drop()
	f.awaitEnd(1)
	clients.fail(nil)
	f.eventually("it has gone", func() bool { at, gone := clients.of("alice web"); return gone && at == id })
}

// What waits is written when the server stops.
func TestClientsAreWrittenAtShutdown(t *testing.T) {
	t.Parallel()
	f, clients := serveClients(t)
	f.dial("alice", "client=web").ExpectQuiet()
	f.stop()
	if err := f.wait(); err != nil {
		t.Fatalf("Run: %v", err)
	}
	if _, gone := clients.of("alice web"); !gone {
		t.Errorf("written %q, want that the client has gone", clients.written())
	}
}

func TestBadInput177ClientNames(t *testing.T) {
	t.Parallel()
	f, _ := serveClients(t)
	for _, name := range []string{"", "-web", "a%20b", "%C3%A9", "a/b", strings.Repeat("x", 65), "a&client=b"} {
		expectProblem(t, wstest.Refused(t, f.feedURL("alice", "client="+name), wstest.Options{}), 400, taskfeed.CodeBadRequest)
	}
	f.dial("alice", "client=A1_.:-"+strings.Repeat("x", 58)).ExpectQuiet()
	resp, body := f.getAs(f.token("alice"), "/v1/events/stream?client=web")
	f.expectRefusal(resp, body, 400, taskfeed.CodeBadRequest, "client")
	without := serve(t, setup{})
	expectProblem(t, wstest.Refused(t, without.feedURL("alice", "client=web"), wstest.Options{}), 400, taskfeed.CodeBadRequest)
}

func TestListOfClients(t *testing.T) {
	t.Parallel()
	f, _ := serveClients(t)
	f.dial("alice", "client=web").ExpectQuiet()
	const want = `{"items":[{"name":"web","cursor":100,"connected":true,"seen_at":"2026-11-22T10:00:02Z","deliveries":[{"through":100,"at":"2026-11-22T10:00:02Z"}]}]}` + "\n"
	for _, path := range []string{"/v1/users/alice/clients", "/v1/user-by-id/clients?id=alice"} {
		if resp, body := f.getAs(f.adminToken(), path); resp.StatusCode != 200 || body != want || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s, want %s", path, resp.StatusCode, body, want)
		}
		resp, body := f.getAs(f.token("alice"), path)
		f.expectRefusal(resp, body, 403, taskfeed.CodeForbidden)
	}
	if resp, body := f.getAs(f.token("alice"), "/v1/me/clients"); resp.StatusCode != 200 || body != want {
		t.Errorf("own clients: %d %s, want %s", resp.StatusCode, body, want)
	}
	if resp, body := f.getAs(f.token("bob"), "/v1/me/clients"); body != `{"items":[]}`+"\n" {
		t.Errorf("of bob: %d %s, want none", resp.StatusCode, body)
	}
	if open := f.connections(); len(open) != 1 || open[0].Client != "web" {
		t.Errorf("connections %+v, want one of the client web", open)
	}
	resp, body := f.getAs(f.token("bob"), "/v1/me/clients?id=alice")
	f.expectRefusal(resp, body, 400, taskfeed.CodeBadRequest, "id")
}
