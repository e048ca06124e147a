package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/pause"
)

const (
	handshakeTimeout = 15 * time.Second
	writeTimeout     = 5 * time.Second
	closeTimeout     = time.Second

	// maxFrameBytes is far above the largest frame that a server sends.
	maxFrameBytes = 4 << 20
	// framesAhead is how many frames are read while the handler is busy, so that pings
	// are answered. After that reading stops, and the server notices a slow client.
	framesAhead = 64
)

// dial opens a connection at the cursor. It stops when ctx is done even during the
// handshake, where the dialer alone would not.
func (r *run) dial(ctx context.Context) (*websocket.Conn, error) {
	dialer := websocket.Dialer{
		Subprotocols:     []string{taskfeed.Subprotocol},
		HandshakeTimeout: handshakeTimeout,
		ReadBufferSize:   4096,
		WriteBufferSize:  1024,
		TLSClientConfig:  r.cfg.TLS,
		Proxy:            http.ProxyFromEnvironment,
	}
	dialNet := (&net.Dialer{}).DialContext
	if r.cfg.NetDial != nil {
		dialNet, dialer.Proxy = r.cfg.NetDial, nil
	}
	stops := func() bool { return true }
	dialer.NetDialContext = func(timed context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialNet(timed, network, addr)
		if err == nil {
			stops = context.AfterFunc(ctx, func() { conn.Close() })
		}
		return conn, err
	}
	conn, resp, err := dialer.DialContext(ctx, r.address(), http.Header{"Authorization": {"Bearer " + r.credential.token}})
	if !stops() && err == nil {
		err = context.Cause(ctx)
	}
	if errors.Is(err, websocket.ErrBadHandshake) {
		return nil, newStatusError(resp, r.credential)
	}
	if err != nil {
		return nil, fmt.Errorf("client: connect: %w", err)
	}
	return conn, nil
}

// address returns the URL of the feed at the cursor.
func (r *run) address() string {
	u := *r.endpoint
	if r.known {
		query := u.Query()
		query.Set("after", r.cursor.String())
		u.RawQuery = query.Encode()
	}
	return u.String()
}

// session is one open connection. Four goroutines work for it and end with
// serve: read, keep, renew and deliver.
type session struct {
	run      *run
	conn     *websocket.Conn
	timeout  time.Duration
	began    time.Time
	heard    atomic.Int64 // when the server last sent anything; nanoseconds since began
	texts    chan []byte
	readErr  error      // why texts was closed
	accepted bool       // a text arrived; for after serve
	writer   sync.Mutex // held while a text is written
}

func newSession(r *run, conn *websocket.Conn) *session {
	return &session{run: r, conn: conn, timeout: r.cfg.PeerTimeout, began: time.Now(), texts: make(chan []byte, framesAhead)}
}

// serve takes frames until the connection or ctx ends, and returns why.
func (s *session) serve(ctx context.Context) error {
	inner, end := context.WithCancelCause(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer end(nil)
	work.Go(func() { s.read(inner) })
	work.Go(func() { s.keep(inner) })
	work.Go(func() { s.renew(inner, end) })
	work.Go(func() { s.deliver(inner) })
	for {
		select {
		case <-inner.Done():
			return context.Cause(inner)
		case text, ok := <-s.texts:
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case !ok:
				return s.readErr
			}
			if err := s.run.take(ctx, text); err != nil {
				return err
			}
		}
	}
}

// read reads ahead of the handler until the connection fails.
func (s *session) read(ctx context.Context) {
	defer close(s.texts)
	s.conn.SetReadLimit(maxFrameBytes)
	s.conn.SetPingHandler(func(data string) error {
		s.hear()
		// If the pong fails, the next read fails too.
		_ = s.conn.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(writeTimeout))
		return nil
	})
	s.conn.SetPongHandler(func(string) error { s.hear(); return nil })
	for {
		s.hear()
		kind, text, err := s.conn.ReadMessage()
		if err != nil {
			s.readErr = s.explain(err)
			return
		}
		if kind != websocket.TextMessage {
			s.readErr = &fatal{fmt.Errorf("%w: it sent a binary message", ErrProtocol)}
			return
		}
		s.accepted = true
		if a := readAnswer(text); a != nil { // not after the events: the handler may wait for it
			s.run.outbox.answer(a)
			continue
		}
		select {
		case s.texts <- text:
		case <-ctx.Done():
			return
		}
	}
}

// hear notes that the server has sent something.
func (s *session) hear() {
	now := time.Now()
	s.heard.Store(int64(now.Sub(s.began)))
	// It fails on a closed connection only, as will the read.
	_ = s.conn.SetReadDeadline(now.Add(s.timeout))
}

func (s *session) explain(err error) error {
	if errors.Is(err, websocket.ErrReadLimit) {
		return &fatal{fmt.Errorf("%w: it sent a frame of more than %d bytes", ErrProtocol, maxFrameBytes)}
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return fmt.Errorf("client: the server was silent for %s", s.timeout)
	}
	if websocket.IsCloseError(err, websocket.CloseAbnormalClosure) {
		return errors.New("client: the connection broke off")
	}
	return fmt.Errorf("client: read: %w", err)
}

// keep pings a silent server, and closes the connection when the session ends.
func (s *session) keep(ctx context.Context) {
	defer s.conn.Close()
	patience := s.timeout * 3 / 4
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
			_ = s.conn.WriteControl(websocket.CloseMessage, bye, time.Now().Add(closeTimeout))
			return
		case <-timer.C:
		}
		silent := time.Since(s.began) - time.Duration(s.heard.Load())
		if silent < patience {
			timer.Reset(patience - silent)
			continue
		}
		// If the ping fails, the next read fails too.
		_ = s.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeTimeout))
		timer.Reset(patience)
	}
}

// renew sends a new token before the old one expires. When Token fails it tries
// again while the old one lasts, and leaves the rest to the next connection.
func (s *session) renew(ctx context.Context, end context.CancelCauseFunc) {
	r := s.run
	for {
		wait, ok := r.credential.renewIn(time.Now())
		if !ok || !pause.For(ctx, wait) {
			return
		}
		next, err := r.askToken(ctx, TokenExpired)
		if ctx.Err() != nil {
			return
		}
		if _, stop := errors.AsType[*fatal](err); stop {
			end(err)
			return
		}
		if err != nil {
			r.cfg.Logger.WarnContext(ctx, "token not renewed yet", "error", err)
			continue
		}
		if next.token == r.credential.token {
			continue // the app still returns the old token
		}
		r.credential = next
		if s.sendAuth(next.token) != nil {
			return // the next read fails too
		}
	}
}

func (s *session) sendAuth(token string) error {
	message, err := json.Marshal(map[string]string{"type": "auth", "token": token})
	if err != nil {
		return err
	}
	return s.write(message)
}
