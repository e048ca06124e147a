package client_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/client"
)

// script is a server in memory, for tests in a synctest bubble. Its nth part serves the
// nth connection; a connection without a part fails the test.
type script struct {
	t     *testing.T
	conns chan net.Conn

	mu    sync.Mutex
	parts []func(*peer)
	calls []call
}

// call is a request for a connection.
type call struct {
	after  string // "-" when there is none
	bearer string
	url    string
	at     time.Time
}

func play(t *testing.T, parts ...func(*peer)) *script {
	s := &script{t: t, conns: make(chan net.Conn), parts: parts}
	server := &http.Server{Handler: s}
	go server.Serve(listener{s.conns, t.Context()})
	t.Cleanup(func() { server.Close() })
	return s
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := call{after: "-", bearer: r.Header.Get("Authorization"), url: r.URL.String(), at: time.Now()}
	if r.URL.Query().Has("after") {
		c.after = r.URL.Query().Get("after")
	}
	s.mu.Lock()
	s.calls = append(s.calls, c)
	n := len(s.calls)
	s.mu.Unlock()
	if n > len(s.parts) {
		s.t.Errorf("connection %d: got one, want no more than %d", n, len(s.parts))
		w.WriteHeader(http.StatusForbidden)
		return
	}
	p := &peer{t: s.t, w: w, r: r}
	defer p.hangUp()
	s.parts[n-1](p)
}

// seen returns the requests so far.
func (s *script) seen() []call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (s *script) afters() []string {
	var list []string
	for _, c := range s.seen() {
		list = append(list, c.after)
	}
	return list
}

// dial is the Config.NetDial that leads here.
func (s *script) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case s.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// config is a complete Config that connects to the script and always waits the longest
// time.
func (s *script) config() client.Config {
	return client.Config{
		URL:     "http://taskfeed.test",
		UserID:  "alice",
		Token:   client.StaticToken("secret-token"),
		NetDial: s.dial,
		Backoff: client.Backoff{Rand: func() float64 { return 1 }},
	}
}

type listener struct {
	conns chan net.Conn
	ctx   context.Context
}

func (l listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}
func (l listener) Close() error   { return nil }
func (l listener) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

// peer is the server's side of one connection.
type peer struct {
	t    *testing.T
	w    http.ResponseWriter
	r    *http.Request
	conn *websocket.Conn
}

func (p *peer) upgrade() *peer {
	up := websocket.Upgrader{Subprotocols: []string{"taskfeed.v1"}}
	var err error
	if p.conn, err = up.Upgrade(p.w, p.r, nil); err != nil {
		p.t.Errorf("upgrade: %v", err)
	}
	return p
}

// send sends text frames. A client that has gone is not an error.
func (p *peer) send(frames ...string) *peer {
	for _, f := range frames {
		if p.conn.WriteMessage(websocket.TextMessage, []byte(f)) != nil {
			break
		}
	}
	return p
}

// close sends a close frame, for which nothing may be reading the connection
// yet, and waits for the client to go.
func (p *peer) close(code int, reason string) {
	p.sendClose(code, reason)
	p.hold()
}

func (p *peer) sendClose(code int, reason string) {
	message := websocket.FormatCloseMessage(code, reason)
	_ = p.conn.WriteControl(websocket.CloseMessage, message, time.Now().Add(time.Second))
}

// listen holds in the background. The texts come when the client has gone.
func (p *peer) listen() <-chan []string {
	gone := make(chan []string, 1)
	go func() { gone <- p.hold() }()
	return gone
}

// hold reads until the client goes, and returns the texts that it sent.
func (p *peer) hold() []string {
	var texts []string
	for {
		_, text, err := p.conn.ReadMessage()
		if err != nil {
			return texts
		}
		texts = append(texts, string(text))
	}
}

// cut ends the connection in the middle of a frame.
func (p *peer) cut() {
	_, _ = p.conn.NetConn().Write([]byte{0x81, 100, '{', '"'})
}

func (p *peer) hangUp() {
	if p.conn != nil {
		p.conn.Close()
	}
}

// sends is the part that sends frames and then holds the connection.
func sends(frames ...string) func(*peer) {
	return func(p *peer) { p.upgrade().send(frames...).hold() }
}

// closes is the part that sends frames and then a close frame.
func closes(code int, frames ...string) func(*peer) {
	return func(p *peer) { p.upgrade().send(frames...).close(code, "because") }
}

// answers is the part that does not upgrade.
func answers(status int, headers ...string) func(*peer) {
	return func(p *peer) {
		for i := 0; i < len(headers); i += 2 {
			p.w.Header().Set(headers[i], headers[i+1])
		}
		p.w.WriteHeader(status)
	}
}

func event(id int) string {
	return string(taskfeed.AppendFrame(nil, &taskfeed.Event{
		ID: taskfeed.Cursor(id), TaskID: "t1", Type: taskfeed.TypeTaskProgress, Version: int64(id),
		Data: []byte(`{"progress":40}`), Timestamp: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC),
	}))
}

func live(cursor taskfeed.Cursor) string { return string(taskfeed.AppendLive(nil, cursor)) }

func reset(reason taskfeed.ResetReason, cursor taskfeed.Cursor) string {
	return string(taskfeed.AppendReset(nil, reason, cursor))
}

// jwt returns an unsigned token with this expiry. The client does not verify tokens.
func jwt(name string, expires time.Time) string {
	claims := fmt.Sprintf(`{"jti":%q,"exp":%d}`, name, expires.Unix())
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func mustNew(t *testing.T, cfg client.Config) *client.Feed {
	t.Helper()
	f, err := client.New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return f
}

// until runs the feed up to the event with the id last and returns the ids of its events.
func until(t *testing.T, cfg client.Config, last taskfeed.Cursor) []taskfeed.Cursor {
	t.Helper()
	var ids []taskfeed.Cursor
	ctx, stop := context.WithTimeout(t.Context(), time.Hour)
	defer stop()
	err := mustNew(t, cfg).Run(ctx, func(_ context.Context, e taskfeed.Event) error {
		ids = append(ids, e.ID)
		if e.ID == last {
			stop()
		}
		return nil
	})
	if err != nil || !errors.Is(ctx.Err(), context.Canceled) {
		t.Fatalf("Run: got %v and the events %v, want nil and them to end with %s", err, ids, last)
	}
	return ids
}

// runErr runs the feed and returns the error that ends it.
func runErr(t *testing.T, cfg client.Config) error {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Hour)
	defer stop()
	err := mustNew(t, cfg).Run(ctx, func(context.Context, taskfeed.Event) error { return nil })
	if ctx.Err() != nil {
		t.Errorf("Run: still at it after an hour, want it to end by itself")
	}
	return err
}

var errTest = errors.New("a failure of the test's making")

func contains(err error, text string) bool { return err != nil && strings.Contains(err.Error(), text) }
