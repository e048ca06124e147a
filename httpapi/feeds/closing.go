package feeds

import (
	"context"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/logs"
	"github.com/taskfeed/taskfeed/internal/wsframe"
)

// end begins to close the socket: it gives back its place, so that a peer that hears of
// the end may connect again at once, sends a close frame after the frame that is being
// written and waits for the peer's, both within CloseTimeout. Only the first call counts.
// It implements member.
func (c *socket) end(code int, reason string) {
	c.mu.Lock()
	if c.phase != phaseOpen {
		c.mu.Unlock()
		return
	}
	c.phase, c.code = phaseClosing, code
	c.hardStop = time.AfterFunc(c.feeds.cfg.CloseTimeout, c.abort)
	stopFeed := c.stopFeed
	c.helpers.Add(1)
	c.mu.Unlock()
	defer c.helpers.Done()
	c.releaseAll(stopFeed)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.enqueueControlLocked(func(pending *controls) { pending.close, pending.code, pending.reason = true, code, reason })
}

// cut ends the connection without a close frame, whatever it is doing.
func (c *socket) cut() {
	c.mu.Lock()
	was := c.phase
	c.phase = phaseCut
	if was == phaseOpen {
		c.code = wsframe.CloseAbnormal
	}
	stopFeed := c.stopFeed
	c.mu.Unlock()
	if was != phaseCut {
		_ = c.conn.Close() // it may be broken already
	}
	if was == phaseOpen {
		c.releaseAll(stopFeed)
	}
}

// abort cuts the connection and discards what the kernel has not sent.
func (c *socket) abort() {
	if tcp, ok := c.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it may be closed already
	}
	c.cut()
}

// releaseAll gives back the place in the hub and the registry. It is called once.
func (c *socket) releaseAll(stopFeed func()) {
	c.feeds.registry.remove(c.id)
	c.release()
	if stopFeed != nil {
		stopFeed()
	}
}

// isClosing reports whether the socket is no longer open.
func (c *socket) isClosing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.phase != phaseOpen
}

// catch turns a panic of a helper into the end of this connection.
func (c *socket) catch() {
	if v := recover(); v != nil {
		c.feeds.panicked(c.name(), v)
		c.end(wsframe.CloseInternal, reasonInternal)
	}
}

// finish completes the close after the reader has stopped. Closing a connection with
// unread bytes could lose a close frame that the peer has not answered, so it shuts
// down its own side and reads on until the peer ends.
func (c *socket) finish(answered bool) {
	c.helpers.Wait()
	if c.closeSent && !answered {
		if half, ok := c.conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // if it is gone, so is the peer
		}
		_, _ = io.Copy(io.Discard, c.conn) // until the peer's end or the hard stop
	}
	c.cut()
	if c.hardStop != nil {
		c.hardStop.Stop()
	}
	c.feeds.metrics.ended(c.code)
	if c.sub == nil {
		return // the access log has the refusal
	}
	c.feeds.logClosed(c.name(), c.userID, c.code, c.since, c.sent.Load())
}

// logClosed logs the end of a connection. Endings that a client can cause again and
// again are sampled.
func (f *Feeds) logClosed(connectionID, userID string, code int, since time.Time, sent int64) {
	attrs := []slog.Attr{
		slog.String("connection_id", connectionID),
		slog.String("user_id", userID),
		slog.Int("code", code),
		slog.Duration("duration", time.Since(since)),
		slog.Int64("bytes_sent", sent),
	}
	switch code {
	case wsframe.CloseProtocolError, wsframe.CloseUnsupported, wsframe.CloseInvalidData, wsframe.CloseTooBig, taskfeed.CloseBadToken, taskfeed.CloseForbidden, taskfeed.CloseTooMany:
		attrs = append(attrs, logs.Bounded(codeLabel(code)))
	}
	f.log.LogAttrs(context.Background(), slog.LevelInfo, "connection closed", attrs...)
}
