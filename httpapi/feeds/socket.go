package feeds

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/internal/wsframe"
)

// phase is the state of a socket. It only increases.
type phase uint8

const (
	phaseOpen    phase = iota
	phaseClosing       // a close frame is pending or sent; no events any more
	phaseCut           // nothing can be written any more
)

// socket is one WebSocket connection. Its reader lives as long as it does and
// waits for its helpers, which write. There are tens of thousands
// of sockets: every field counts.
type socket struct {
	feeds   *Feeds
	id      uint64
	userID  string
	remote  string
	since   time.Time
	conn    net.Conn
	sub     *hub.Subscriber // nil when the token was refused
	arrival *arrival        // nil for a client without a name
	release func()          // gives back what the socket has reserved

	// The reader's own.
	frames  wsframe.Reader
	inbound request.Allowance

	sent     atomic.Int64 // bytes written
	lastRead atomic.Int64 // when a frame came, on the clock of connections
	nextDue  atomic.Int64 // when tick has something to do, on the clock of connections

	// writer is held over each write, so that frames do not mix. It is this
	// socket's alone, and a write takes at most WriteTimeout.
	writer    sync.Mutex
	closeSent bool // guarded by writer

	helpers sync.WaitGroup // Add only under mu and while phaseOpen, or by end

	mu          sync.Mutex
	phase       phase
	narrowed    bool      // the client asked for the feeds that it sees; else they are all of its token
	unread      bool      // the client asked for unread in feed_live
	controlling bool      // a helper writes control frames
	feedRuns    uint32    // number of the last helper that writes events
	stopFeed    func()    // ends that helper's wait for the log; nil when it does not wait
	pending     *controls // what the next round of control frames holds; nil: nothing
	code        int       // the close code once the phase is not open
	hardStop    *time.Timer
	keep        keepalive
}

// newSocket returns a socket that has no connection yet.
func (f *Feeds) newSocket(hs handshake, p auth.Principal) *socket {
	now := f.now()
	c := &socket{feeds: f, id: hs.id, userID: p.UserID, remote: hs.remote, since: time.Now()}
	c.narrowed, c.unread = len(hs.feeds) > 0, hs.unread
	c.keep.start(now, f.cfg.PingInterval)
	c.keep.expireAt(now, p.ExpiresAt)
	c.nextDue.Store(int64(c.keep.due()))
	return c
}

// attach gives the socket its connection, before anything else may use it.
func (c *socket) attach(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok && c.feeds.cfg.SendBufferBytes != 0 {
		_ = tcp.SetWriteBuffer(c.feeds.cfg.SendBufferBytes) // else the system's own size
	}
	c.conn = conn
	c.frames = wsframe.NewReader(conn, wsframe.FromClient)
}

// user implements member.
func (c *socket) user() string { return c.userID }

// ownFeed implements member.
func (c *socket) ownFeed() *hub.Subscriber { return c.sub }

// describe implements member.
func (c *socket) describe() Connection {
	name := ""
	if c.arrival != nil {
		name = c.arrival.client.Name
	}
	return Connection{
		UserID:     c.userID,
		Client:     name,
		Feeds:      groupsOf(c.sub, c.userID),
		Transport:  "websocket",
		Since:      c.since,
		RemoteAddr: c.remote,
		Cursor:     c.sub.Cursor(),
		BytesSent:  c.sent.Load(),
	}
}

// read is the socket's reader: it reads until the connection ends, completes
// the close and releases everything.
func (c *socket) read() {
	defer c.feeds.registry.leave()
	err := c.readMessages()
	answered := false
	if e, ok := errors.AsType[*wsframe.CloseError](err); ok {
		c.end(e.Code, e.Reason)
	} else if code, ok := errors.AsType[peerClose](err); ok {
		answered = c.isClosing()
		c.end(int(code), "")
	} else {
		c.cut()
	}
	c.finish(answered)
}

// peerClose is the code of a close frame that the peer sent. It is answered
// with the same code, unless it is the answer itself.
type peerClose int

func (e peerClose) Error() string { return "the peer has closed" }

// readMessages reads and handles messages until the connection ends. The error is
// a *wsframe.CloseError or a peerClose when a close frame is the answer.
func (c *socket) readMessages() (err error) {
	defer func() {
		if v := recover(); v != nil {
			c.feeds.panicked(c.name(), v)
			err = closeWith(wsframe.CloseInternal, reasonInternal)
		}
	}()
	var message []byte
	for {
		h, err := c.frames.Next()
		if err != nil {
			return err
		}
		c.lastRead.Store(int64(c.feeds.now()))
		if h.Op.IsControl() {
			err = c.handleControl(h)
		} else {
			message, err = c.handleData(h, message)
		}
		if err != nil {
			return err
		}
	}
}

// handleControl reads and answers a control frame.
func (c *socket) handleControl(h wsframe.Header) error {
	payload, err := c.frames.Control(h)
	if err != nil {
		return err
	}
	if h.Op == wsframe.OpPong && c.answered(payload) {
		return nil // the server has asked, so it is free
	}
	if h.Op == wsframe.OpClose {
		code, _, err := wsframe.ParseClose(payload)
		if err != nil {
			return err
		}
		return peerClose(code)
	}
	if err := c.spend(); err != nil {
		return err
	}
	if h.Op == wsframe.OpPing {
		c.enqueueControl(func(pending *controls) { pending.pong, pending.payload = true, append([]byte(nil), payload...) })
	}
	return nil
}

// handleData reads a fragment of a message and handles the message when it is complete.
// It returns the fragments of an incomplete one. Each message and each empty fragment
// uses one of the client's allowance.
func (c *socket) handleData(h wsframe.Header, message []byte) ([]byte, error) {
	switch {
	case h.Op == wsframe.OpBinary:
		return nil, closeWith(wsframe.CloseUnsupported, reasonBinary)
	case h.Size > uint64(c.feeds.cfg.MaxMessageBytes-len(message)):
		return nil, closeWith(wsframe.CloseTooBig, reasonTooBig)
	case h.Op == wsframe.OpText || h.Size == 0:
		if err := c.spend(); err != nil {
			return nil, err
		}
	}
	message, err := c.frames.Payload(message, h)
	if err != nil || !h.Fin {
		return message, err
	}
	return nil, c.handleMessage(message)
}

// spend uses up one of the client's allowance. A closing socket only waits for
// the peer's close frame, for a bounded time.
func (c *socket) spend() error {
	if c.inbound.Take(c.feeds.now(), c.feeds.cfg.MessagesPerMinute) == 0 || c.isClosing() {
		return nil
	}
	return closeWith(taskfeed.CloseTooMany, reasonTooMany)
}

// handleMessage handles a complete text message, which is UTF-8.
func (c *socket) handleMessage(message []byte) error {
	if c.isClosing() {
		return nil
	}
	switch m := parseMessage(message); m.kind {
	case messagePing:
		c.enqueueControl(func(pending *controls) { pending.textPongs++ })
	case messageRead:
		c.markRead(m.through)
	case messageToApp:
		f := c.sub.Filter()
		c.feeds.deps.Inbox.Take(c.userID, append([]string{f.UserID}, f.Feeds...), message, c.answer)
	case messageAuth:
		if c.feeds.deps.Guard.ReadsTokens() {
			return c.renew(m.token)
		}
		fallthrough
	default:
		c.feeds.metrics.ignored.Inc()
	}
	return nil
}

// renew replaces the token by a new one of the same user, whose feeds it shows from now
// on. While tokens cannot be verified the old one stays valid.
func (c *socket) renew(token string) error {
	p, err := c.feeds.deps.Guard.Verify(context.Background(), token)
	switch {
	case taskfeed.CodeOf(err) == taskfeed.CodeBadToken:
		code, reason := closeFor(err)
		return closeWith(code, reason)
	case err != nil:
		c.feeds.log.Warn("token not renewed", "connection_id", c.name(), "error", err)
		return nil
	case p.UserID != c.userID:
		return closeWith(taskfeed.CloseForbidden, reasonForbidden)
	}
	var chosen []string
	if c.narrowed {
		f := c.sub.Filter()
		chosen = append([]string{f.UserID}, f.Feeds...)
	}
	userID, feeds, ok := p.Choose(chosen)
	if !ok {
		return closeWith(taskfeed.CloseForbidden, reasonFeed)
	}
	c.sub.SetFeeds(userID, feeds)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep.expireAt(c.feeds.now(), p.ExpiresAt)
	c.nextDue.Store(int64(c.dueLocked()))
	return nil
}

// name is the connection's id as logs and admins see it.
func (c *socket) name() string { return c.feeds.registry.name(c.id) }

// panicked logs a panic that ends one connection and no other.
func (f *Feeds) panicked(connectionID string, v any) {
	f.metrics.panics.Inc()
	f.log.Error("connection panicked", "connection_id", connectionID, "error", request.PanicError(v))
}
