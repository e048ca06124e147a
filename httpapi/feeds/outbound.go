package feeds

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/inbox"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/internal/wsframe"
)

// chunk gathers frames for one write. Those for events are pooled: a socket has
// one only while it writes.
type chunk struct {
	buf      []byte
	ends     []int  // where in buf frames end
	midFrame bool   // buf begins inside a frame
	end      []byte // of a frame that differs from client to client
}

func newChunk() any { return &chunk{buf: make([]byte, 0, request.ChunkBytes)} }

// written forgets what has been written.
func (b *chunk) written() {
	b.midFrame = len(b.ends) == 0 || b.ends[len(b.ends)-1] < len(b.buf)
	b.buf, b.ends = b.buf[:0], b.ends[:0]
}

// boundary returns the first place at or after n where one frame has ended and
// no other begun, and reports whether there is one.
func (b *chunk) boundary(n int) (int, bool) {
	if n == 0 && !b.midFrame {
		return 0, true
	}
	for _, end := range b.ends {
		if end >= n {
			return end, true
		}
	}
	return 0, false
}

// wake starts a helper that writes the events that the hub has. It is called for a new
// socket and by the hub.
func (c *socket) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != phaseOpen {
		return
	}
	c.feedRuns++
	number := c.feedRuns
	c.helpers.Add(1)
	c.feeds.turns.start(func(t *turn) { c.feed(t, number) })
}

// feed writes until the subscriber is parked or the socket closes.
func (c *socket) feed(t *turn, number uint32) {
	defer c.helpers.Done()
	defer c.catch()
	for {
		frames, ok, err := c.sub.TryNext()
		if !ok && err == nil {
			t.yield()
			frames, err = c.awaitNext(number)
		}
		if err != nil || len(frames) == 0 {
			return
		}
		if c.unread && endsReplay(frames) {
			t.yield()
			c.feeds.countUnread(frames, c.userID, c.sub)
		}
		if c.writeEvents(t, frames) != nil {
			return
		}
	}
}

// awaitNext reads the log for the helper with this number, again and again until it can
// be read or the socket closes.
func (c *socket) awaitNext(number uint32) ([]*hub.Frame, error) {
	ctx, stop := context.WithCancel(context.Background()) // of no request: end cancels it
	defer stop()
	if !c.beginWait(number, stop) {
		return nil, errStopped
	}
	defer c.endWait(number)
	retry := logRetry
	for {
		frames, err := c.sub.Next(ctx)
		if err == nil || !c.feeds.waitForLog(ctx, c.name(), err, &retry) {
			return frames, err
		}
	}
}

func (c *socket) beginWait(number uint32, stop func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != phaseOpen {
		return false
	}
	if c.feedRuns == number {
		c.stopFeed = stop
	}
	return true
}

func (c *socket) endWait(number uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.feedRuns == number { // else the next one has been woken already
		c.stopFeed = nil
	}
}

// logRetry is the time between two tries to read the log, before the first failure.
var logRetry = pause.Backoff{Least: 20 * time.Millisecond, Most: time.Second}

// waitForLog waits before the log is read again after a failure, longer each
// time, and reports whether to try again. Connections outlive an outage of the database.
func (f *Feeds) waitForLog(ctx context.Context, connectionID string, err error, retry *pause.Backoff) bool {
	if errors.Is(err, hub.ErrClosed) || ctx.Err() != nil {
		return false
	}
	f.feedFailed(connectionID, err)
	return pause.For(ctx, retry.Next())
}

var errStopped = errors.New("the connection is closing")

// writeEvents writes the frames, many at a time. After an error the socket is
// closing or cut.
func (c *socket) writeEvents(t *turn, frames []*hub.Frame) error {
	c.lockWriter(t)
	defer c.writer.Unlock()
	b := c.feeds.chunks.Get().(*chunk)
	defer c.feeds.putChunk(b)
	for _, f := range frames {
		if c.isClosing() { // complete frames go out before the close frame
			return errors.Join(errStopped, c.flush(t, b))
		}
		body, end := f.Bytes, b.end[:0]
		if inGroup(f, c.userID) {
			body, end = f.Bytes[:len(f.Bytes)-1], taskfeed.AppendFeed(end, f.UserID)
		}
		b.end = end
		if err := c.add(t, b, body, end); err != nil {
			return err
		}
	}
	if err := c.flush(t, b); err != nil {
		return err
	}
	c.feeds.metrics.delivered(frames, time.Now())
	if last := frames[len(frames)-1]; c.arrival != nil && last.ID > 0 {
		c.wrote(last.ID)
	}
	return nil
}

// add puts a text frame of two parts into the chunk and writes the chunk whenever it is
// full.
func (c *socket) add(t *turn, b *chunk, payload, end []byte) error {
	if len(b.buf)+wsframe.MaxServerHeader > request.ChunkBytes {
		if err := c.flush(t, b); err != nil {
			return err
		}
	}
	b.buf = wsframe.AppendHeader(b.buf, wsframe.OpText, len(payload)+len(end))
	for {
		for _, part := range []*[]byte{&payload, &end} {
			n := min(len(*part), request.ChunkBytes-len(b.buf))
			b.buf = append(b.buf, (*part)[:n]...)
			*part = (*part)[n:]
		}
		if len(payload)+len(end) == 0 {
			b.ends = append(b.ends, len(b.buf))
			return nil
		}
		if err := c.flush(t, b, payload, end); err != nil {
			return err
		}
	}
}

// flush writes the chunk; the caller holds writer. A peer that does not
// accept it in time is closed as too slow, even if it accepted a few bytes. rest are
// the parts of the last frame that are not in the chunk.
func (c *socket) flush(t *turn, b *chunk, rest ...[]byte) error {
	if len(b.buf) == 0 {
		return nil
	}
	n, err := c.write(t, b.buf, c.feeds.cfg.WriteTimeout)
	switch {
	case err == nil:
		b.written()
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.end(taskfeed.CloseSlow, reasonSlow)
		c.finishFrame(t, b, n, rest)
	default:
		c.cut()
	}
	return err
}

// finishFrame writes the rest of the frame in which a write stopped after n bytes, so
// that a close frame can follow if the peer reads again in time.
func (c *socket) finishFrame(t *turn, b *chunk, n int, rest [][]byte) {
	end, ok := b.boundary(n)
	if ok {
		rest = nil
	} else {
		end = len(b.buf)
	}
	for _, part := range append([][]byte{b.buf[n:end]}, rest...) {
		if _, err := c.write(t, part, c.feeds.cfg.CloseTimeout); err != nil {
			c.abort()
			return
		}
	}
}

// lockWriter takes the right to write.
func (c *socket) lockWriter(t *turn) {
	if !c.writer.TryLock() {
		t.yield()
		c.writer.Lock()
	}
}

// write writes the bytes within the time; the caller holds writer. It waits only if the
// connection does not take them all at once, and sets a deadline only then.
func (c *socket) write(t *turn, p []byte, within time.Duration) (n int, err error) {
	n = writeNow(c.conn, p)
	if n < len(p) {
		t.yield()
		var more int
		more, err = c.writeWithin(p[n:], within)
		n += more
	}
	c.sent.Add(int64(n))
	c.feeds.metrics.bytes.Add(float64(n))
	return n, err
}

func (c *socket) writeWithin(p []byte, within time.Duration) (int, error) {
	if err := c.conn.SetWriteDeadline(time.Now().Add(within)); err != nil {
		return 0, err
	}
	n, err := c.conn.Write(p)
	_ = c.conn.SetWriteDeadline(time.Time{}) // once it has passed, writeNow writes nothing
	return n, err
}

// controls is what a socket has to write besides events.
type controls struct {
	textPongs int      // answers to text pings
	answers   [][]byte // to messages
	size      int      // of answers
	pong      bool     // the last ping frame is to be answered
	payload   []byte   // of that ping
	ping      bool
	ask       bool   // as ping, but the answer may take any time
	question  []byte // what the ping carries
	close     bool   // with code; nothing follows
	code      int
	reason    string
}

// enqueueControl adds to what the socket has to write, and starts a helper to write it
// if none does. It does not block. Pings that come faster than they are answered are answered
// together, as RFC 6455 section 5.5.3 allows.
func (c *socket) enqueueControl(add func(*controls)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == phaseOpen {
		c.enqueueControlLocked(add)
	}
}

// maxAnswers bounds the answers to messages that a client has not read, in bytes.
const maxAnswers = 64 << 10

// answer tells the client what became of a message. It does not block.
func (c *socket) answer(a inbox.Answer) {
	frame, slow := a.Frame(), false
	c.enqueueControl(func(pending *controls) {
		pending.answers = append(pending.answers, frame)
		pending.size += len(frame)
		slow = pending.size > maxAnswers
	})
	if slow {
		c.end(taskfeed.CloseSlow, reasonSlow)
	}
}

func (c *socket) enqueueControlLocked(add func(*controls)) {
	if c.pending == nil {
		c.pending = new(controls)
	}
	add(c.pending)
	if !c.controlling {
		c.controlling = true
		c.helpers.Add(1)
		c.feeds.turns.start(c.control)
	}
}

// control writes control frames until none is pending.
func (c *socket) control(t *turn) {
	defer c.helpers.Done()
	defer c.catch()
	for pending := c.takePending(); pending != nil; pending = c.takePending() {
		began := c.feeds.now()
		c.writeControls(t, pending)
		if pending.ping {
			c.pinged(began)
		}
	}
}

func (c *socket) takePending() *controls {
	c.mu.Lock()
	defer c.mu.Unlock()
	pending := c.pending
	c.pending = nil
	c.controlling = pending != nil
	return pending
}

// writeControls writes one round of control frames and text pongs.
func (c *socket) writeControls(t *turn, pending *controls) {
	c.lockWriter(t)
	defer c.writer.Unlock()
	if c.closeSent {
		return
	}
	var b chunk
	if pending.ping || pending.ask {
		pending.question = c.question()
	}
	pending.appendTo(&b)
	if c.flush(t, &b) == nil && pending.close {
		c.closeSent = true
	}
}

// appendTo puts the frames into the chunk.
func (o *controls) appendTo(b *chunk) {
	frame := func(op wsframe.Opcode, payload []byte) {
		b.buf = append(wsframe.AppendHeader(b.buf, op, len(payload)), payload...)
		b.ends = append(b.ends, len(b.buf))
	}
	if o.pong {
		frame(wsframe.OpPong, o.payload)
	}
	for range o.textPongs {
		frame(wsframe.OpText, textPong)
	}
	for _, answer := range o.answers {
		frame(wsframe.OpText, answer)
	}
	if o.ping || o.ask {
		frame(wsframe.OpPing, o.question)
	}
	if o.close {
		b.buf = wsframe.AppendClose(b.buf, o.code, o.reason)
		b.ends = append(b.ends, len(b.buf))
	}
}
