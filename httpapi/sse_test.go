package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/internal/wsframe"
	"github.com/taskfeed/taskfeed/lab/ssetest"
	"github.com/taskfeed/taskfeed/lab/wstest"
)

// stream opens a stream with a token and these parameters.
func (f *fixture) stream(token string, params ...string) *ssetest.Client {
	f.t.Helper()
	return ssetest.Open(f.t, f.streamURL(params...), http.Header{"Authorization": {"Bearer " + token}})
}

func (f *fixture) streamURL(params ...string) string {
	return f.url + "/v1/events/stream?" + strings.Join(params, "&")
}

// put appends an event with the next id and returns the id.
func (l *memLog) put(e taskfeed.Event) taskfeed.Cursor {
	l.mu.Lock()
	e.ID, e.Timestamp = l.head()+1, time.Now()
	l.events = append(l.events, e)
	l.mu.Unlock()
	l.hub.Publish([]taskfeed.Event{e})
	return e.ID
}

func TestStreamLive(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{first: 10})
	c := f.stream(f.token("alice"))
	c.ExpectLive(10)
	if got := c.Response.Header; got.Get("Content-Type") != "text/event-stream; charset=utf-8" || got.Get("Cache-Control") != "no-store" || got.Get("X-Request-Id") == "" {
		t.Errorf("header %v, want that of a stream", got)
	}
	if c.Parser.Retry != 2*time.Second {
		t.Errorf("retry after %v, want %v", c.Parser.Retry, 2*time.Second)
	}
	if want := 15 * time.Second; c.Parser.Silence != want {
		t.Errorf("a comment after a silence of %v, want %v: clients would not know a healthy stream from a dead one", c.Parser.Silence, want)
	}
	f.log.add("bob", taskfeed.TypeTaskQueued, `{}`)
	own := f.log.add("alice", taskfeed.TypeTaskQueued, `{}`)[0]
	cast := f.log.put(taskfeed.Event{Type: "news", Data: []byte(`{"a":1}`)})
	c.ExpectEvent(own)
	c.ExpectEvent(cast)
	f.eventually("the list shows the stream at its cursor", func() bool {
		list := f.connections()
		return len(list) == 1 && list[0].Transport == "sse" && list[0].UserID == "alice" && list[0].Cursor == cast && list[0].BytesSent > 0
	})
}

func TestStreamResumes(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	ids := f.log.add("alice", taskfeed.TypeTaskProgress, `{}`, `{}`, `{}`)
	c := f.stream(f.token("alice"), "after=0")
	for _, id := range ids {
		c.ExpectEvent(id)
	}
	c.ExpectLive(ids[2])
	c.Close()
	missed := f.log.add("alice", taskfeed.TypeTaskProgress, `{}`, `{}`)
	c.Reconnect() // the URL still says after=0
	for _, id := range missed {
		c.ExpectEvent(id)
	}
	c.ExpectLive(missed[1])
}

// TestStreamCommentsMoveTheCursor: a client that gets no events learns from comments how
// far the log has been read for it.
func TestStreamCommentsMoveTheCursor(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{cfg: Config{CommentInterval: 20 * time.Millisecond}})
	c := f.stream(f.token("alice"), "types=task_completed,task_failed", "types=mail", "task_id=task-1")
	c.ExpectLive(0)
	f.log.add("alice", taskfeed.TypeTaskProgress, `{}`, `{}`)
	last := f.log.put(taskfeed.Event{UserID: "alice", TaskID: "task-2", Type: taskfeed.TypeTaskFailed, Data: []byte(`{}`)})
	c.Until("a comment moves the last id", func() bool { return c.Parser.LastID == last.String() && c.Parser.Comments > 0 })
	want := f.log.add("alice", taskfeed.TypeTaskCompleted, `{}`)[0]
	c.ExpectEvent(want)
	comments := c.Parser.Comments
	if want := 20 * time.Millisecond; c.Parser.Silence != want {
		t.Errorf("a comment after a silence of %v, want %v", c.Parser.Silence, want)
	}
	c.Until("comments continue", func() bool { return c.Parser.Comments > comments+1 })
	if c.Parser.LastID != want.String() {
		t.Errorf("last id %s, want %d: comments do not move it back", c.Parser.LastID, want)
	}
}

// TestStreamReconnectsDuringOutage: a client that reconnects while the server is unavailable gets a stream that ends at
// once, because a browser's EventSource gives up after a response with an error.
func TestStreamReconnectsDuringOutage(t *testing.T) {
	t.Parallel()
	var away atomic.Bool
	f := serve(t, setup{deps: Deps{Unavailable: func() error {
		if away.Load() {
			return errors.New("planted")
		}
		return nil
	}}})
	alice := f.token("alice")
	c := f.stream(alice)
	c.ExpectLive(0)
	c.Close()
	missed := f.log.add("alice", "hello", `{}`)[0]
	away.Store(true)
	for range 2 {
		c.Reconnect() // with a last id: a browser's EventSource gives up after an error
		c.ExpectClosed(wsframe.CloseRestart)
	}
	if c.Parser.Retry != 2*time.Second || c.Parser.LastID != "0" {
		t.Errorf("retry after %v with id %s, want %v and the id as it was", c.Parser.Retry, c.Parser.LastID, 2*time.Second)
	}
	resp, body := f.getAs(alice, "/v1/events/stream")
	f.expectRefusal(resp, body, 503, taskfeed.CodeUnavailable)
	resp, body = f.getAs("forged", "/v1/events/stream", "Last-Event-ID", "0")
	f.expectRefusal(resp, body, 401, taskfeed.CodeBadToken)
	away.Store(false)
	c.Reconnect()
	c.ExpectEvent(missed)
	c.ExpectLive(missed)
	if got := f.metric(`taskfeed_handshake_refusals_total{code="unavailable"}`); got != 3 {
		t.Errorf("%v refusals are counted, want 3", got)
	}
}

func TestStreamOutlivesOutageOfLog(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{cfg: Config{CommentInterval: 20 * time.Millisecond}})
	id := f.log.add("alice", "hello", `{}`)[0]
	f.log.failWith(func() error { return errors.New("planted") })
	c := f.stream(f.token("alice"), "after=0")
	c.Until("comments bridge the outage", func() bool { return c.Parser.Comments > 2 })
	f.log.failWith(nil)
	c.ExpectEvent(id)
}

func TestStreamUserLimit(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{limits: hub.Config{MaxPerUser: 2}})
	alice := f.token("alice")
	first := f.stream(alice)
	first.ExpectLive(0)
	f.dial("alice").ExpectQuiet()
	resp, body := f.getAs(alice, "/v1/events/stream")
	f.expectRefusal(resp, body, 429, taskfeed.CodeTooManyConnections)
	first.Close()
	f.eventually("the place is free again", func() bool { return len(f.connections()) == 1 })
	f.stream(alice).ExpectLive(0)
	if got := f.metric(`taskfeed_closes_total{code="1006"}`); got != 1 {
		t.Errorf("%v connections ended by their client, want 1", got)
	}
}

func TestStreamTokens(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	alice := f.token("alice")
	ssetest.Open(t, f.streamURL("token="+alice), nil).ExpectLive(0)
	resp, body := f.getAs(alice, "/v1/events/stream?token="+alice)
	f.expectRefusal(resp, body, 400, taskfeed.CodeAmbiguousCredentials)
	resp, body = f.get("/v1/events/stream")
	f.expectRefusal(resp, body, 401, taskfeed.CodeBadToken)
	resp, body = f.get("/v1/events/stream?token=forged")
	f.expectRefusal(resp, body, 401, taskfeed.CodeBadToken)
}

func TestStreamSelection(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	alice, admin := f.token("alice"), f.adminToken()
	for _, param := range []string{"user_id=bob", "user_id=alice", "all=true"} {
		resp, body := f.getAs(alice, "/v1/events/stream?"+param)
		f.expectRefusal(resp, body, 403, taskfeed.CodeForbidden)
	}
	for query, field := range map[string]string{
		"all=true&user_id=bob": "all", "all=yes": "all", "types=": "types", "types=task_done": "types", "types=feed_live": "types",
		"task_id=%00": "task_id", "user_id=": "user_id", "userId=bob": "", "All=true": "",
	} {
		resp, body := f.getAs(admin, "/v1/events/stream?"+query)
		f.expectRefusal(resp, body, 400, taskfeed.CodeBadRequest, field)
	}
	all, bobs, own := f.stream(admin, "all=true"), f.stream(admin, "user_id=bob"), f.stream(admin)
	for _, c := range []*ssetest.Client{all, bobs, own} {
		c.ExpectLive(0)
	}
	aliceID := f.log.add("alice", "hello", `{}`)[0]
	bobID := f.log.add("bob", "hello", `{}`)[0]
	rootID := f.log.add("root", "hello", `{}`)[0]
	bobs.ExpectEvent(bobID)
	own.ExpectEvent(rootID)
	for _, id := range []taskfeed.Cursor{aliceID, bobID, rootID} {
		all.ExpectEvent(id)
	}
	if got := f.feeds.DisconnectUser("bob"); got != 0 {
		t.Errorf("%d connections of bob, want none: an admin's stream is the admin's", got)
	}
	if got := f.feeds.DisconnectUser("root"); got != 3 {
		t.Errorf("%d connections of the admin, want 3", got)
	}
}

func TestStreamEnds(t *testing.T) {
	t.Parallel()

	t.Run("its token expires", func(t *testing.T) {
		t.Parallel()
		soon := time.Now().Add(300 * time.Millisecond)
		f := serve(t, setup{cfg: Config{PingInterval: 100 * time.Millisecond}, deps: Deps{Verifier: verifierOf(soon)}})
		c := f.stream("soon")
		c.ExpectLive(0)
		c.ExpectClosed(taskfeed.CloseBadToken)
		f.eventually("the stream is removed", func() bool { return len(f.connections()) == 0 })
	})
	t.Run("the server restarts", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{})
		c := f.stream(f.token("alice"))
		c.ExpectLive(0)
		f.stop()
		c.ExpectClosed(wsframe.CloseRestart)
		if err := f.wait(); err != nil {
			t.Errorf("Run returned %v, want nil", err)
		}
	})
	t.Run("an admin closes it", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{})
		c := f.stream(f.token("alice"))
		c.ExpectLive(0)
		f.Obey(taskfeed.CommandDisconnectConnection, f.connections()[0].ID)
		c.ExpectClosed(taskfeed.CloseDisconnected)
		if c.Parser.Retry != 24*time.Hour || c.Parser.LastID != "0" {
			t.Errorf("retry after %v with id %s, want %v and the id as it was", c.Parser.Retry, c.Parser.LastID, 24*time.Hour)
		}
	})
	t.Run("a panic ends one stream", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{})
		bystander := f.stream(f.token("bob"))
		bystander.ExpectLive(0)
		f.log.add("alice", "hello", `{}`)
		f.log.failWith(func() error { panic("a fault planted by a test") })
		c := f.stream(f.token("alice"), "after=0")
		c.ExpectClosed(wsframe.CloseInternal)
		f.log.failWith(nil)
		f.eventually("its place is free again", func() bool { return len(f.connections()) == 1 && f.hub.Stats().Reserved == 1 })
		bystander.ExpectEvent(f.log.add("bob", "hello", `{}`)[0])
		if len(f.logs.lines(`"level":"ERROR"`, "a fault planted by a test")) != 1 || f.metric("taskfeed_connection_panics_total") != 1 {
			t.Error("the panic is not in the log and counted, once")
		}
	})
	t.Run("bad input 42: the client never reads", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{cfg: Config{WriteTimeout: 2 * time.Second, SendBufferBytes: 16 << 10}})
		alice := f.token("alice")
		raw := wstest.Connect(t, strings.TrimPrefix(f.url, "http://"))
		if err := raw.Conn.SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		raw.SendBytes([]byte("GET /v1/events/stream?after=0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + alice + "\r\n\r\n"))
		big := fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", 50_000))
		var ids []taskfeed.Cursor
		for range 40 {
			ids = append(ids, f.log.add("alice", "big", big)...)
		}
		f.eventually("the stream is closed as too slow", func() bool { return f.metric(`taskfeed_closes_total{code="4008"}`) == 1 })
		_ = raw.Conn.SetReadDeadline(time.Now().Add(wstest.Patience))
		if n, err := io.Copy(io.Discard, raw.Conn); errors.Is(err, os.ErrDeadlineExceeded) || n > 1<<20 {
			t.Errorf("the client could read %d bytes (%v), want a part and the end", n, err)
		}

		c := f.stream(alice, "after="+ids[4].String())
		for _, id := range ids[5:] {
			c.ExpectEvent(id)
		}
		c.ExpectLive(ids[39])
	})
}

func TestStreamBadInput(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{first: 5})
	alice := f.token("alice")

	t.Run("bad input 39: Last-Event-ID that is no cursor", func(t *testing.T) {
		for _, id := range []string{"-1", "1.5", "0x1", "9007199254740992", strings.Repeat("9", 10_000), "1 2", "abc", "1\u00a0"} {
			resp, body := f.getAs(alice, "/v1/events/stream", "Last-Event-ID", id)
			f.expectRefusal(resp, body, 400, taskfeed.CodeBadCursor)
		}
		resp, body := f.getAs(alice, "/v1/events/stream", "Last-Event-ID", "6", "Last-Event-ID", "7")
		f.expectRefusal(resp, body, 400, taskfeed.CodeBadCursor)
		resp, body = f.getAs(alice, "/v1/events/stream?after=1&after=2")
		f.expectRefusal(resp, body, 400, taskfeed.CodeBadCursor)
		for _, control := range []string{"\x00", "\x01", "\x7f", "7\x00"} {
			raw := wstest.Connect(t, strings.TrimPrefix(f.url, "http://"))
			raw.SendBytes([]byte("GET /v1/events/stream HTTP/1.1\r\nHost: x\r\nLast-Event-ID: " + control + "\r\nAuthorization: Bearer " + alice + "\r\n\r\n"))
			raw.ReadResponse()
			if raw.Response.StatusCode != 400 {
				t.Errorf("Last-Event-ID %q: %d, want 400", control, raw.Response.StatusCode)
			}
		}
	})
	t.Run("bad input 39: Last-Event-ID ahead of the log, or too old", func(t *testing.T) {
		for id, reason := range map[string]taskfeed.ResetReason{"99": taskfeed.ResetAhead, "3": taskfeed.ResetExpired} {
			c := ssetest.Open(t, f.streamURL("after=0"), http.Header{"Authorization": {"Bearer " + alice}, "Last-Event-Id": {id}})
			if frame := c.Frame(); frame.Type != taskfeed.TypeFeedReset || frame.Reason != reason || frame.Cursor != 5 || c.Parser.LastID != "5" {
				t.Errorf("%s: %+v and last id %s, want feed_reset %s to 5", id, frame, c.Parser.LastID, reason)
			}
			c.ExpectLive(5)
		}
	})
	t.Run("an empty Last-Event-ID counts as none", func(t *testing.T) {
		ssetest.Open(t, f.streamURL("after=5"), http.Header{"Authorization": {"Bearer " + alice}, "Last-Event-Id": {""}}).ExpectLive(5)
	})
	t.Run("bad input 40: Accept, HEAD and POST", func(t *testing.T) {
		resp, body := f.getAs(alice, "/v1/events/stream", "Accept", "text/html,application/xhtml+xml")
		f.expectRefusal(resp, body, 406, taskfeed.CodeNotAcceptable)
		resp, body = f.do(f.request(http.MethodHead, "/v1/events/stream", alice))
		if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") || body != "" {
			t.Errorf("HEAD: %d %s %q, want the header of a stream", resp.StatusCode, resp.Header.Get("Content-Type"), body)
		}
		resp, _ = f.do(f.request(http.MethodHead, "/v1/events/stream", "forged"))
		if resp.StatusCode != 401 {
			t.Errorf("HEAD with a forged token: %d, want 401", resp.StatusCode)
		}
		resp, body = f.do(f.request(http.MethodPost, "/v1/events/stream", alice))
		f.expectRefusal(resp, body, 405, taskfeed.CodeMethodNotAllowed)
		if allow := resp.Header.Get("Allow"); !strings.Contains(allow, "GET") {
			t.Errorf("Allow %q, want GET", allow)
		}
	})
	t.Run("bad input 41: payloads that look like the protocol", func(t *testing.T) {
		c := f.stream(alice)
		c.ExpectLive(5)
		for _, text := range nastyTexts {
			data := must(json.Marshal(map[string]string{"text": text}))
			id := f.log.put(taskfeed.Event{UserID: "alice", TaskID: "task\n\nid: 9", Type: "mail", Data: data})
			want := taskfeed.AppendFrame(nil, &f.log.events[len(f.log.events)-1])
			if e := c.Event(); e.Data != string(want) || e.ID != id.String() || e.Type != "mail" {
				t.Errorf("event %q, want id %d and data %q", e, id, want)
			}
		}
	})
}

// nastyTexts contain what ends lines, events or streams, or looks as if it did.
var nastyTexts = []string{"\r", "\n", "\r\n", "a\n\nevent: feed_reset\ndata: {}\n\n", "\ufeff", "\ufeffdata: x", "\u2028\u2029\u0085", "\x00\x01\x1b", ": comment", "id: 7\n\n", "\\n\\r\\\\"}

func TestSocketFilters(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{limits: hub.Config{ReplayPage: 4}})
	var wanted []taskfeed.Cursor
	for i := range 30 {
		e := taskfeed.Event{UserID: "alice", TaskID: "task-1", Type: taskfeed.TypeTaskProgress, Data: []byte(`{}`)}
		if i == 3 || i == 20 {
			e.Type = taskfeed.TypeTaskCompleted
		}
		if i == 10 {
			e.Type, e.TaskID = taskfeed.TypeTaskCompleted, "task-2"
		}
		if id := f.log.put(e); i == 3 || i == 20 {
			wanted = append(wanted, id)
		}
	}
	c := f.dial("alice", "after=0", "types=task_completed,mail&task_id=task-1&no_such=parameter")
	for _, id := range wanted {
		c.ExpectEvent(id)
	}
	c.ExpectLive(30)
	f.log.add("alice", taskfeed.TypeTaskProgress, `{}`, `{}`)
	c.ExpectQuiet()
	c.ExpectEvent(f.log.add("alice", taskfeed.TypeTaskCompleted, `{}`)[0])
	f.eventually("the cursor is 33", func() bool { return f.connections()[0].Cursor == 33 })
	c.Drop()
	for cursor, want := range map[taskfeed.Cursor][]taskfeed.Cursor{30: {33}, 33: nil, wanted[0]: {wanted[1], 33}} {
		back := f.dial("alice", "after="+cursor.String(), "types=task_completed", "task_id=task-1")
		for _, id := range want {
			back.ExpectEvent(id)
		}
		back.ExpectLive(33)
		back.ExpectQuiet()
		back.Drop()
	}
	whole := f.dial("alice", "after=30") // a cursor of a filtered feed is valid for the whole one
	for id := taskfeed.Cursor(31); id <= 33; id++ {
		whole.ExpectEvent(id)
	}
	whole.ExpectLive(33)
	unlike := f.dial("alice", "types=task_completed") // a plain client, live only
	unlike.ExpectQuiet()
	f.log.add("alice", taskfeed.TypeTaskProgress, `{}`)
	unlike.ExpectQuiet()
	unlike.ExpectEvent(f.log.add("alice", taskfeed.TypeTaskCompleted, `{}`)[0])
	for _, params := range []string{"types=", "types=task_done", "task_id=%00", "task_id=a&task_id=b", "types=" + strings.Repeat("x,", 60)} {
		expectProblem(t, wstest.Refused(t, f.feedURL("alice", params), wstest.Options{}), 400, taskfeed.CodeBadRequest)
	}
}

func TestHandshakeLimitCountsStreams(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{cfg: Config{HandshakesPerMinute: 2, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}})
	alice := f.token("alice")
	f.stream(alice).ExpectLive(0)
	f.dial("alice").ExpectQuiet()
	resp, body := f.getAs(alice, "/v1/events/stream")
	f.expectRefusal(resp, body, 429, taskfeed.CodeRateLimited)
	if resp, body := f.getAs(alice, "/v1/events/stream", "X-Forwarded-For", "192.0.2.9", "Accept", "text/html"); resp.StatusCode != 406 {
		t.Errorf("another address: %d %s, want 406", resp.StatusCode, body)
	}
}

// TestAdminsCountAsThemselves: an admin who watched the feed of alice was counted as
// alice, so that alice seemed to be connected.
func TestAdminsCountAsThemselves(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{limits: hub.Config{MaxPerUser: 2}})
	admin := f.adminToken()
	watching, all := f.stream(admin, "user_id=alice"), f.stream(admin, "all=true")
	watching.ExpectLive(0)
	all.ExpectLive(0)
	if got := f.metric(`websocket_connections{user_id="alice"}`); got != -1 {
		t.Errorf("alice has %v connections by the metrics, want no such line", got)
	}
	if got := f.metric(`websocket_connections{user_id="root"}`); got != 2 {
		t.Errorf("the admin has %v connections by the metrics, want 2", got)
	}
	if _, body := f.get("/health/websockets"); !strings.Contains(body, `"total_users":1,"total_connections":2`) {
		t.Errorf("%s, want one user, the admin, with two connections", body)
	}
	resp, body := f.getAs(admin, "/v1/events/stream?user_id=alice")
	f.expectRefusal(resp, body, 429, taskfeed.CodeTooManyConnections)
	f.dial("alice").ExpectQuiet()
	f.dial("alice").ExpectQuiet()

	_, body = f.getAs(admin, "/v1/connections?user_id=root")
	for _, want := range []string{`"user_id":"root","watches":"alice"`, `"user_id":"root","watches_all":true`} {
		if !strings.Contains(body, want) {
			t.Errorf("connections of the admin: %s, want %s in it", body, want)
		}
	}
	if _, body = f.getAs(admin, "/v1/connections?user_id=alice"); strings.Contains(body, "watches") || strings.Contains(body, "root") {
		t.Errorf("connections of alice: %s, want her own alone", body)
	}
}

// TestStreamsShowTheOwner: in the feed of all users the server sets the field
// user_id; in the feed of one user the field is the app's.
func TestStreamsShowTheOwner(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	f.log.add("alice", "x", `{"user_id": "bob"}`)
	f.log.add("", "y", `{"user_id": "bob"}`)
	stream := f.stream(f.adminToken(), "all=true", "after=0")
	for _, want := range []string{`"user_id":"alice"`, ""} {
		data := stream.Event().Data
		if strings.Contains(data, "bob") || strings.Count(data, "user_id") != min(len(want), 1) || !strings.Contains(data, want) {
			t.Errorf("got %s, want one user_id, %q", data, want)
		}
	}
	if data := f.stream(f.adminToken(), "user_id=alice", "after=0").Event().Data; !strings.Contains(data, `"user_id": "bob"`) {
		t.Errorf("alice's own feed: got %s, want her data as it is", data)
	}
}
