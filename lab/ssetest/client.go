package ssetest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
)

// patience bounds every wait of a client. It is far longer than any wait on a busy
// machine; only failing tests wait that long.
const patience = 15 * time.Second

// Client is a stream of server-sent events.
type Client struct {
	// Parser has the bytes read so far; a test may read it between calls.
	Parser Parser
	// Response is the answer to the last request. Its body is being read.
	Response *http.Response

	t       testing.TB
	url     string
	header  http.Header
	http    http.Client
	cancel  context.CancelFunc
	pieces  chan []byte // closed at the end of the stream
	problem error       // why the stream ended; valid once pieces is closed
}

// Open connects to a stream with these further headers. The test fails when it
// is refused. The stream ends with the test.
func Open(t testing.TB, url string, header http.Header) *Client {
	t.Helper()
	c := &Client{t: t, url: url, header: header, http: http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	t.Cleanup(c.Close)
	c.connect()
	return c
}

func (c *Client) connect() {
	c.t.Helper()
	status, body, err := c.try()
	if err != nil || status != http.StatusOK {
		c.t.Fatalf("connect to the stream: %d %s %v", status, body, err)
	}
}

// try makes one attempt. For a refusal it returns the body.
func (c *Client) try() (status int, body string, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		cancel()
		return 0, "", err
	}
	request.Header = c.header.Clone()
	if request.Header == nil {
		request.Header = make(http.Header)
	}
	request.Header.Set("Accept", "text/event-stream")
	if c.Parser.LastID != "" {
		request.Header.Set("Last-Event-ID", c.Parser.LastID)
	}
	response, err := c.http.Do(request)
	if err != nil {
		cancel()
		return 0, "", err
	}
	c.Response = response
	if response.StatusCode != http.StatusOK {
		defer cancel()
		b, _ := io.ReadAll(response.Body) // only for the message
		return response.StatusCode, string(b), response.Body.Close()
	}
	c.cancel, c.pieces = cancel, make(chan []byte)
	go c.read(ctx, response.Body, c.pieces)
	return response.StatusCode, "", nil
}

func (c *Client) read(ctx context.Context, body io.ReadCloser, pieces chan<- []byte) {
	defer close(pieces)
	defer body.Close()
	for {
		piece := make([]byte, 4096)
		n, err := body.Read(piece)
		if n > 0 {
			select {
			case pieces <- piece[:n]:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			c.problem = err
			return
		}
	}
}

// Reconnect reconnects with the last id, and retries while there is no answer. A status
// other than 200 fails the test, because a browser would give up.
func (c *Client) Reconnect() {
	c.t.Helper()
	c.hangUp()
	c.Parser.reconnect()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		status, body, err := c.try()
		switch {
		case err == nil && status == http.StatusOK:
			return
		case err == nil:
			c.t.Fatalf("reconnect to the stream: %d %s", status, body)
		}
		select {
		case <-deadline:
			c.t.Fatalf("reconnect to the stream: %d %s %v", status, body, err)
		case <-tick.C:
		}
	}
}

// Close ends the stream from the client's side.
func (c *Client) Close() {
	c.hangUp()
	c.http.CloseIdleConnections()
}

func (c *Client) hangUp() {
	if c.cancel == nil {
		return
	}
	c.cancel()
	for range c.pieces { // until its reader has ended
	}
	c.cancel = nil
}

// more reads another piece. It returns io.EOF at a clean end.
func (c *Client) more() error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case piece, ok := <-c.pieces:
		if !ok {
			return c.problem
		}
		_, err := c.Parser.Write(piece)
		return err
	case <-timer.C:
		return errors.New("nothing came in time")
	}
}

// Until reads on until the condition holds. It is asked after each piece.
func (c *Client) Until(what string, holds func() bool) {
	c.t.Helper()
	for !holds() {
		if err := c.more(); err != nil {
			c.t.Fatalf("%s: %v", what, err)
		}
	}
}

// Event returns the next event.
func (c *Client) Event() Event {
	c.t.Helper()
	for {
		if e, ok := c.Parser.Next(); ok {
			return e
		}
		if err := c.more(); err != nil {
			c.t.Fatalf("read the stream: %v, want an event", err)
		}
	}
}

// TryEvent returns the next event, or false when the stream ends before one.
func (c *Client) TryEvent() (Event, bool) {
	c.t.Helper()
	for {
		if e, ok := c.Parser.Next(); ok {
			return e, true
		}
		if err := c.more(); err != nil {
			return Event{}, false
		}
	}
}

// Frame returns the next event's frame. The test fails unless the event's type
// and id are the frame's.
func (c *Client) Frame() taskfeed.Frame {
	c.t.Helper()
	e := c.Event()
	f, err := taskfeed.ParseFrame([]byte(e.Data))
	if err != nil {
		c.t.Fatalf("%v: %q", err, e.Data)
	}
	id := f.Event.ID
	if f.Type == taskfeed.TypeFeedLive || f.Type == taskfeed.TypeFeedReset {
		id = f.Cursor
	}
	if e.Type != string(f.Type) || e.ID != id.String() {
		c.t.Fatalf("event %s with id %s holds a frame %s with id %d", e.Type, e.ID, f.Type, id)
	}
	return f
}

// ExpectLive expects the next event to be feed_live with this cursor.
func (c *Client) ExpectLive(cursor taskfeed.Cursor) {
	c.t.Helper()
	if f := c.Frame(); f.Type != taskfeed.TypeFeedLive || f.Cursor != cursor {
		c.t.Fatalf("frame %s with cursor %d and id %d, want feed_live with cursor %d", f.Type, f.Cursor, f.Event.ID, cursor)
	}
}

// ExpectEvent expects the next event to be the one with this id.
func (c *Client) ExpectEvent(id taskfeed.Cursor) taskfeed.Frame {
	c.t.Helper()
	f := c.Frame()
	if f.Event.ID != id {
		c.t.Fatalf("frame %s with id %d, want id %d", f.Type, f.Event.ID, id)
	}
	return f
}

// ExpectClosed expects a feed_closed with this code, and then the end of the stream.
func (c *Client) ExpectClosed(code int) {
	c.t.Helper()
	e := c.Event()
	var closed struct {
		Type string
		Code int
	}
	if err := json.Unmarshal([]byte(e.Data), &closed); err != nil || e.Type != "feed_closed" || closed.Type != e.Type || closed.Code != code {
		c.t.Fatalf("event %s %s (%v), want feed_closed with code %d", e.Type, e.Data, err, code)
	}
	c.expectEnd()
}

// expectEnd expects a clean end of the stream without another event.
func (c *Client) expectEnd() {
	c.t.Helper()
	for {
		err := c.more()
		if e, ok := c.Parser.Next(); ok {
			c.t.Fatalf("event %s %s, want the end of the stream", e.Type, e.Data)
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			c.t.Fatalf("read the stream: %v, want its end", err)
		}
	}
}
