package actor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/gorilla/websocket"

	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

const (
	// silence is how long a server may send nothing, not even a ping, before a client
	// considers it dead. The servers under test ping every second.
	silence = 8 * time.Second

	handshakeTimeout = 5 * time.Second
	writeTimeout     = 2 * time.Second
	smallBuffer      = 4096

	thinning = 500 * time.Millisecond // of the progress of each task

	longToken  = time.Hour
	shortToken = 4 * time.Second
)

// connect makes one connection and reads it to its end. It reports whether the
// server accepted it.
func (c *client) connect(ctx context.Context) bool {
	c.session++
	server := c.cfg.Servers[c.rand.IntN(len(c.cfg.Servers))]
	after := c.cursor()
	c.note(history.Client{Kind: history.Dial, Server: server.Name, Proto: c.cfg.Proto, After: after})
	switch c.cfg.Proto {
	case "sse":
		return c.stream(ctx, server, after)
	case "rest":
		return c.poll(ctx, server)
	}
	conn, err := c.dial(ctx, server, after)
	if err != nil {
		return false
	}
	c.note(history.Client{Kind: history.Open})
	ctx, hangUp := context.WithCancel(ctx)
	defer hangUp()
	c.present(hangUp)
	defer c.present(nil)
	if stay := c.stay(); stay > 0 {
		timer := time.AfterFunc(stay, hangUp)
		defer timer.Stop()
	}
	c.read(ctx, conn)
	return true
}

// stay returns how long the client keeps a connection; 0 is for ever.
func (c *client) stay() time.Duration {
	switch {
	case c.trait("fresh"):
		return 5*time.Second + rand.N(10*time.Second)
	case c.trait("churn") || c.trait("forgetful"):
		return time.Second + rand.N(4*time.Second)
	}
	return 0
}

// present sets the connection that commands apply to.
func (c *client) present(hangUp func()) {
	c.open.Store(hangUp != nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hangUp = hangUp
}

// cursor returns the cursor of the next connection; nil is live only.
func (c *client) cursor() *int64 {
	switch {
	case c.trait("fresh"):
		c.last, c.known = 0, true
	case c.cfg.Proto == "plain" || c.cfg.Proto == "rest" || c.cfg.Proto != "after" && !c.known:
		return nil
	case c.trait("forgetful") && c.saved > 0:
		c.since = 0
		return new(c.saved)
	}
	after := c.last
	return &after
}

// dial connects to a server's feed. It records a refusal.
func (c *client) dial(ctx context.Context, server Server, after *int64) (*websocket.Conn, error) {
	token, err := c.token()
	if err != nil {
		c.note(history.Client{Kind: history.Refused, Text: err.Error()})
		return nil, err
	}
	query, header := url.Values{}, http.Header{}
	if after != nil {
		query.Set("after", strconv.FormatInt(*after, 10))
	}
	c.ask(query)
	dialer := websocket.Dialer{HandshakeTimeout: handshakeTimeout, NetDialContext: c.dialTCP}
	if c.cfg.Proto == "v1" {
		dialer.Subprotocols = []string{"taskfeed.v1"}
	}
	switch way := c.rand.IntN(3); {
	case way == 0:
		query.Set("token", token)
	case way == 1 && c.cfg.Proto == "v1":
		dialer.Subprotocols = append(dialer.Subprotocols, "bearer."+token)
	default:
		header.Set("Authorization", "Bearer "+token)
	}
	address := url.URL{Scheme: "ws", Host: server.Addr, Path: "/ws/" + c.cfg.User, RawQuery: query.Encode()}
	conn, res, err := dialer.DialContext(ctx, address.String(), header)
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		c.note(history.Client{Kind: history.Quit})
	default:
		c.refused(res, err)
	}
	return nil, err
}

// ask adds what the client wants beside a cursor.
func (c *client) ask(query url.Values) {
	if c.trait("thinned") {
		query.Set("progress_interval", thinning.String())
	}
	if c.trait("compact") {
		query.Set("compact", "true")
	}
	if c.trait("named") {
		query.Set("client", c.cfg.Name)
	}
}

// refused records the server's refusal with its answer.
func (c *client) refused(res *http.Response, err error) {
	r := history.Client{Kind: history.Refused, Text: err.Error()}
	if res != nil {
		r.Status = res.StatusCode
		body, _ := io.ReadAll(io.LimitReader(res.Body, 1<<16)) // gorilla keeps the beginning
		r.Text = string(body)
	}
	c.note(r)
}

func (c *client) token() (string, error) {
	ttl := longToken
	if c.trait("expiring") || c.trait("renewing") {
		ttl = shortToken
	}
	role := ""
	if c.cfg.All {
		role = auth.RoleAdmin
	}
	return auth.Issue(auth.Config{Secret: []byte(c.secret)}, c.cfg.User, role, ttl, c.cfg.Feeds...)
}

// dialTCP opens a connection whose receive buffer is small, if the client's is.
func (c *client) dialTCP(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: handshakeTimeout}
	if c.trait("small") {
		d.Control = func(_, _ string, raw syscall.RawConn) error {
			var set error
			err := raw.Control(func(fd uintptr) {
				set = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, smallBuffer)
			})
			return errors.Join(err, set)
		}
	}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil || !c.trait("small") {
		return conn, err
	}
	return crawler{conn, c}, nil
}

// crawler is a connection that reads a byte a second while its client crawls.
type crawler struct {
	net.Conn
	client *client
}

func (c crawler) Read(p []byte) (int, error) {
	if len(p) > 0 && c.client.until(&c.client.crawling) > 0 {
		time.Sleep(time.Second)
		p = p[:1]
	}
	return c.Conn.Read(p)
}

// read reads until the connection ends and records how it ended. Its goroutine ends
// before it returns.
func (c *client) read(ctx context.Context, conn *websocket.Conn) {
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.keep(ctx, conn)
	}()
	defer func() { stop(); <-ended }()
	heard := func(string) error { return conn.SetReadDeadline(time.Now().Add(silence)) }
	conn.SetPongHandler(heard)
	conn.SetPingHandler(func(data string) error {
		// If the pong cannot be written, the next read fails.
		_ = conn.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(writeTimeout))
		return heard("")
	})
	for {
		if !c.breathe(ctx) {
			c.note(history.Client{Kind: history.Quit})
			return
		}
		_ = heard("")
		_, text, err := conn.ReadMessage()
		if err != nil {
			c.note(ending(ctx, err))
			return
		}
		c.take(history.Client{Text: string(text)})
	}
}

// breathe waits while the client is stalled or slow, and reports whether to continue.
func (c *client) breathe(ctx context.Context) bool {
	if wait := c.until(&c.stalled); wait > 0 && !pause.For(ctx, wait) {
		return false
	}
	if c.until(&c.slow) > 0 {
		c.slowed.Add(1)
		return pause.For(ctx, 50*time.Millisecond)
	}
	return ctx.Err() == nil
}

// ending returns the record of how a connection ended.
func ending(ctx context.Context, err error) history.Client {
	var timeout net.Error
	closed := &websocket.CloseError{}
	switch {
	case ctx.Err() != nil:
		return history.Client{Kind: history.Quit}
	case errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure:
		return history.Client{Kind: history.Close, Code: closed.Code, Text: closed.Text}
	case errors.As(err, &timeout) && timeout.Timeout():
		return history.Client{Kind: history.Broken, Text: fmt.Sprintf("the server was silent for %v", silence)}
	}
	return history.Client{Kind: history.Broken, Text: err.Error()}
}

// keep sends pings or renews the token regularly, and closes the connection when ctx
// ends.
func (c *client) keep(ctx context.Context, conn *websocket.Conn) {
	defer conn.Close()
	tick := time.NewTicker(shortToken / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
			_ = conn.WriteControl(websocket.CloseMessage, bye, time.Now().Add(writeTimeout)) // the connection may be broken
			return
		case <-tick.C:
		}
		message := []byte("ping")
		if c.trait("renewing") {
			message = c.renewal()
		}
		_ = conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		_ = conn.WriteMessage(websocket.TextMessage, message) // if it fails, the next read fails too
	}
}

func (c *client) renewal() []byte {
	token, err := auth.Issue(auth.Config{Secret: []byte(c.secret)}, c.cfg.User, "", shortToken, c.cfg.Feeds...)
	if err != nil {
		return []byte("ping")
	}
	message, err := json.Marshal(map[string]string{"type": "auth", "token": token})
	if err != nil {
		return []byte("ping")
	}
	return message
}
