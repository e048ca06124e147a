// Package wstest provides WebSocket clients for tests: [Client], a well-behaved one
// with methods that check what it receives, and [Raw], which sends any bytes after the
// handshake.
//
// Every wait is bounded by [Patience] and failures end the test, so call the methods
// from the test's own goroutine. A client is for one goroutine.
package wstest

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/taskfeed/taskfeed"
)

// Patience bounds every wait of a client. It is far longer than any wait on a busy
// machine; only failing tests wait that long.
const Patience = 15 * time.Second

// Options are parts of a handshake besides its URL.
type Options struct {
	Header       http.Header
	Subprotocols []string
}

// Client is a well-behaved client.
type Client struct {
	t  testing.TB
	ws *websocket.Conn

	// Response is the answer to the handshake. Its body is empty.
	Response *http.Response
}

// Dial connects to a ws:// or http:// URL and closes the connection when the
// test ends. The test fails when the handshake is refused.
func Dial(t testing.TB, url string, opts Options) *Client {
	t.Helper()
	ws, resp, err := dial(url, opts)
	if err != nil {
		t.Fatalf("dial: %v (%s)", err, describe(resp))
	}
	t.Cleanup(func() { _ = ws.Close() }) // the test may have closed it
	return &Client{t: t, ws: ws, Response: resp}
}

func dial(url string, opts Options) (*websocket.Conn, *http.Response, error) {
	if rest, ok := strings.CutPrefix(url, "http"); ok {
		url = "ws" + rest
	}
	dialer := websocket.Dialer{HandshakeTimeout: Patience, Subprotocols: opts.Subprotocols}
	return dialer.Dial(url, opts.Header)
}

func describe(resp *http.Response) string {
	if resp == nil {
		return "no response"
	}
	body, _ := io.ReadAll(resp.Body) // gorilla keeps its first bytes in memory
	return resp.Status + " " + string(body)
}

// Refusal is the answer that refuses a handshake.
type Refusal struct {
	Status int
	Header http.Header
	Code   taskfeed.Code // of the problem document; empty for another body
	Body   string        // its first 1024 bytes
}

// Refused tries to connect and returns the refusal. The test fails when the handshake
// succeeds or no HTTP answer comes.
func Refused(t testing.TB, url string, opts Options) Refusal {
	t.Helper()
	ws, resp, err := dial(url, opts)
	if err == nil {
		_ = ws.Close() // only the test's failure matters
		t.Fatal("handshake succeeded, want a refusal")
	}
	if resp == nil {
		t.Fatalf("dial: %v, want an HTTP answer", err)
	}
	body, _ := io.ReadAll(resp.Body) // see describe
	return Refusal{resp.StatusCode, resp.Header, ProblemCode(body), string(body)}
}

// ProblemCode returns the code of a problem document, empty for another body.
func ProblemCode(body []byte) taskfeed.Code {
	var problem struct{ Code taskfeed.Code }
	if json.Unmarshal(body, &problem) != nil {
		return ""
	}
	return problem.Code
}

// Send sends a text message.
func (c *Client) Send(text string) {
	c.t.Helper()
	if err := c.ws.SetWriteDeadline(time.Now().Add(Patience)); err != nil {
		c.t.Fatalf("set write deadline: %v", err)
	}
	if err := c.ws.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// read returns the next message, which must be a text.
func (c *Client) read() ([]byte, error) {
	if err := c.ws.SetReadDeadline(time.Now().Add(Patience)); err != nil {
		return nil, err
	}
	kind, data, err := c.ws.ReadMessage()
	if err == nil && kind != websocket.TextMessage {
		return nil, errors.New("the message is not a text")
	}
	return data, err
}

// Text returns the next message unparsed.
func (c *Client) Text() string {
	c.t.Helper()
	data, err := c.read()
	if err != nil {
		c.t.Fatalf("read: %v, want a message", err)
	}
	return string(data)
}

// expectText expects the next message to be exactly this text.
func (c *Client) expectText(want string) {
	c.t.Helper()
	if got := c.Text(); got != want {
		c.t.Fatalf("message %q, want %q", got, want)
	}
}

// Frame returns the next message, which must be a frame.
func (c *Client) Frame() taskfeed.Frame {
	c.t.Helper()
	text := c.Text()
	f, err := taskfeed.ParseFrame([]byte(text))
	if err != nil {
		c.t.Fatalf("%v: %q", err, text)
	}
	return f
}

// ExpectEvent expects the next message to be the event with this id.
func (c *Client) ExpectEvent(id taskfeed.Cursor) taskfeed.Frame {
	c.t.Helper()
	f := c.Frame()
	if f.Event.ID != id {
		c.t.Fatalf("frame %s with id %d, want id %d", f.Type, f.Event.ID, id)
	}
	return f
}

// ExpectLive expects the next message to be a feed_live frame with this cursor.
func (c *Client) ExpectLive(cursor taskfeed.Cursor) {
	c.t.Helper()
	f := c.Frame()
	if f.Type != taskfeed.TypeFeedLive || f.Cursor != cursor {
		c.t.Fatalf("frame %s with cursor %d and id %d, want feed_live with cursor %d", f.Type, f.Cursor, f.Event.ID, cursor)
	}
}

// ExpectQuiet expects that the client has no unread message: it sends a ping, and the
// pong must be the next message.
func (c *Client) ExpectQuiet() {
	c.t.Helper()
	c.Send("ping")
	c.expectText("pong")
}

// ExpectClose expects a close frame with this code to come next and returns its
// reason.
func (c *Client) ExpectClose(code int) string {
	c.t.Helper()
	got, reason := c.closed()
	if got != code {
		c.t.Fatalf("close code %d (%s), want %d", got, reason, code)
	}
	return reason
}

// Closed skips messages until the connection ends and returns the close code,
// 1006 when there was no close frame, and the reason.
func (c *Client) Closed() (code int, reason string) {
	c.t.Helper()
	for {
		if _, err := c.read(); err != nil {
			return closeCode(err)
		}
	}
}

func (c *Client) closed() (code int, reason string) {
	data, err := c.read()
	if err == nil {
		return 0, "message " + string(data)
	}
	return closeCode(err)
}

func closeCode(err error) (int, string) {
	if e, ok := errors.AsType[*websocket.CloseError](err); ok {
		return e.Code, e.Text
	}
	return websocket.CloseAbnormalClosure, err.Error()
}

// Close sends a close frame with the code and expects the same code back.
func (c *Client) Close(code int) {
	c.t.Helper()
	data := websocket.FormatCloseMessage(code, "")
	if err := c.ws.WriteControl(websocket.CloseMessage, data, time.Now().Add(Patience)); err != nil {
		c.t.Fatalf("send close frame: %v", err)
	}
	if got, reason := c.Closed(); got != code {
		c.t.Fatalf("close frame answered by code %d (%s), want %d", got, reason, code)
	}
}

// Drop ends the TCP connection without a close frame.
func (c *Client) Drop() {
	c.t.Helper()
	if err := c.ws.Close(); err != nil {
		c.t.Fatalf("drop: %v", err)
	}
}
