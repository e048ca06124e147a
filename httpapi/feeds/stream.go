package feeds

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/internal/wsframe"
)

// stream is one SSE connection. Its handler's
// goroutine writes the feed and lives as long as the stream; a timer writes
// comments, also while the handler waits for the log.
type stream struct {
	feeds   *Feeds
	id      uint64
	userID  string // of the principal, also when it watches another user
	owner   string // whose own feed it is
	named   bool   // the feed is that of all users, and events show their user
	unread  bool   // the client asked for unread in feed_live
	remote  string
	since   time.Time
	expires time.Duration // when the token ends, on the clock of connections
	sub     *hub.Subscriber
	release func()        // gives back what the stream has reserved
	wakes   chan struct{} // holds a value when the hub has more
	stop    func()        // ends the handler's waiting

	conn net.Conn     // nil when it is not known
	sent atomic.Int64 // bytes written

	writer  sync.Mutex // held from the first byte of an event or a comment to its last
	w       http.ResponseWriter
	out     *http.ResponseController
	known   taskfeed.Cursor // the last id that was written
	resting bool            // all that the hub has handed out was written
	silence *time.Timer     // writes the next comment
	over    bool            // nothing may be written any more

	mu     sync.Mutex
	code   int // why it ends; 0 while it is open
	reason string
}

// wake is called by the hub when there is more.
func (st *stream) wake() {
	select {
	case st.wakes <- struct{}{}:
	default:
	}
}

// serve writes the feed until the stream ends.
func (st *stream) serve(ctx context.Context, response *echo.Response) {
	defer st.finish()
	if !st.feeds.registry.add(st.id, st) {
		st.end(wsframe.CloseRestart, reasonRestart)
	}
	st.tune()
	streamHeader(response.Header())
	response.WriteHeader(http.StatusOK)
	if st.begin() == nil {
		st.feed(ctx)
	}
	st.writer.Lock()
	defer st.writer.Unlock()
	st.over = true
	if code, reason := st.ending(); code != wsframe.CloseAbnormal && code != taskfeed.CloseSlow {
		_ = st.write(appendClosed(nil, code, reason)) // the client may be gone
	}
}

// tune removes the deadlines of ordinary requests from the connection and sets how long
// the kernel waits for a client that has vanished.
func (st *stream) tune() {
	_ = st.out.SetReadDeadline(time.Time{}) // it would end the request's context
	cfg := &st.feeds.cfg
	tcp, ok := st.conn.(*net.TCPConn)
	if !ok {
		return
	}
	_ = setUserTimeout(tcp, cfg.CommentInterval+cfg.PongTimeout) // else the system's own time
}

// begin writes the beginning of the stream and starts the timer of comments.
func (st *stream) begin() error {
	st.writer.Lock()
	defer st.writer.Unlock()
	interval := st.feeds.cfg.CommentInterval
	st.silence = time.AfterFunc(interval, st.comment)
	return st.write(appendBeginning(nil, interval))
}

// feed writes what the hub has until the stream ends or cannot be written.
func (st *stream) feed(ctx context.Context) {
	defer st.catch()
	retry := logRetry
	for {
		frames, err := st.sub.Next(ctx)
		switch {
		case err != nil:
			if !st.feeds.waitForLog(ctx, st.name(), err, &retry) {
				return
			}
		case len(frames) == 0:
			if !st.rest(ctx) {
				return
			}
		default:
			retry.Reset()
			if st.unread && endsReplay(frames) {
				st.feeds.countUnread(frames, st.userID, st.sub)
			}
			if st.writeEvents(ctx, frames) != nil {
				return
			}
		}
	}
}

// catch turns a panic into the end of this stream.
func (st *stream) catch() {
	if v := recover(); v != nil {
		st.feeds.panicked(st.name(), v)
		st.end(wsframe.CloseInternal, reasonInternal)
	}
}

// rest waits until the hub has more. It reports false when the stream ends.
func (st *stream) rest(ctx context.Context) bool {
	st.setResting(true)
	defer st.setResting(false)
	select {
	case <-ctx.Done():
		return false
	case <-st.wakes:
		return true
	}
}

func (st *stream) setResting(yes bool) {
	st.writer.Lock()
	defer st.writer.Unlock()
	st.resting = yes
}

// comment writes a comment after a silence, also while the handler waits for the log:
// otherwise the client would give up a healthy stream. It sets the client's last id only
// while the handler rests. At other times the hub's cursor may be past events that are
// not written yet, and a client that resumed from it would miss them.
func (st *stream) comment() {
	defer st.catch()
	st.writer.Lock()
	defer st.writer.Unlock()
	if st.over {
		return
	}
	cursor := st.known
	if st.resting {
		cursor = st.sub.Cursor()
	}
	if st.write(appendComment(nil, cursor, st.known)) != nil {
		st.end(wsframe.CloseAbnormal, "")
		return
	}
	st.known = max(st.known, cursor)
	st.silence.Reset(st.feeds.cfg.CommentInterval)
}

// writeEvents writes the frames, many at a time. Each write of at most
// chunkBytes has its own deadline. When the stream ends it stops after a whole
// event.
func (st *stream) writeEvents(ctx context.Context, frames []*hub.Frame) error {
	st.writer.Lock()
	defer st.writer.Unlock()
	b := st.feeds.chunks.Get().(*chunk)
	defer st.feeds.putChunk(b)
	for _, f := range frames {
		if ctx.Err() != nil {
			return errors.Join(errStopped, st.flush(b))
		}
		b.buf = appendEvent(b.buf, f)
		for payload := st.payload(f); ; {
			n := min(len(payload), max(0, request.ChunkBytes-len(b.buf)))
			b.buf = append(b.buf, payload[:n]...)
			if payload = payload[n:]; len(payload) == 0 {
				break
			}
			if err := st.flush(b); err != nil {
				return err
			}
		}
		b.buf = appendEventEnd(b.buf, f)
		if !isNote(f) {
			st.known = f.ID
		}
	}
	if err := st.flush(b); err != nil {
		return err
	}
	st.feeds.metrics.delivered(frames, time.Now())
	return nil
}

// payload is the frame as this stream shows it.
func (st *stream) payload(f *hub.Frame) []byte {
	switch {
	case st.named:
		return appendOwned(make([]byte, 0, len(f.Bytes)+len(f.UserID)+len(ownerField)+8), f)
	case inGroup(f, st.owner):
		return taskfeed.AppendFeed(slices.Clip(f.Bytes[:len(f.Bytes)-1]), f.UserID)
	}
	return f.Bytes
}

func (st *stream) flush(b *chunk) error {
	err := st.write(b.buf)
	b.buf = b.buf[:0]
	return err
}

// write writes all bytes within WriteTimeout. After an error the stream has ended.
func (st *stream) write(p []byte) error {
	err := st.out.SetWriteDeadline(time.Now().Add(st.feeds.cfg.WriteTimeout))
	if err == nil {
		var n int
		n, err = st.w.Write(p)
		st.sent.Add(int64(n))
		st.feeds.metrics.bytes.Add(float64(n))
	}
	if err == nil {
		err = st.out.Flush()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		st.end(taskfeed.CloseSlow, reasonSlow)
		st.abort()
	}
	return err
}

// abort discards what the kernel has not sent.
func (st *stream) abort() {
	if tcp, ok := st.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it may be closed already
	}
}

// end implements member: it gives back the stream's place and has the handler
// say why and return. Only the first call counts.
func (st *stream) end(code int, reason string) {
	st.mu.Lock()
	first := st.code == 0
	if first {
		st.code, st.reason = code, reason
	}
	st.mu.Unlock()
	if first {
		st.feeds.registry.remove(st.id)
		st.release()
		st.stop()
	}
}

// ending returns why the stream ends: if nothing else ended it, the client is gone.
func (st *stream) ending() (code int, reason string) {
	st.end(wsframe.CloseAbnormal, "")
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.code, st.reason
}

// finish releases everything and logs the end.
func (st *stream) finish() {
	if st.silence != nil {
		st.silence.Stop()
	}
	code, _ := st.ending()
	st.feeds.metrics.ended(code)
	st.feeds.logClosed(st.name(), st.userID, code, st.since, st.sent.Load())
}

// user implements member.
func (st *stream) user() string { return st.userID }

// ownFeed implements member.
func (st *stream) ownFeed() *hub.Subscriber {
	if st.named || st.owner != st.userID {
		return nil
	}
	return st.sub
}

// describe implements member.
func (st *stream) describe() Connection {
	watches := ""
	if st.owner != st.userID {
		watches = st.owner
	}
	return Connection{
		UserID:     st.userID,
		Watches:    watches,
		WatchesAll: st.named,
		Feeds:      groupsOf(st.sub, st.owner),
		Transport:  "sse",
		Since:      st.since,
		RemoteAddr: st.remote,
		Cursor:     st.sub.Cursor(),
		BytesSent:  st.sent.Load(),
	}
}

// due implements member.
func (st *stream) due() time.Duration { return st.expires }

// tick implements member.
func (st *stream) tick(time.Duration) { st.end(taskfeed.CloseBadToken, reasonExpired) }

// name is the connection's id as logs and admins see it.
func (st *stream) name() string { return st.feeds.registry.name(st.id) }

// connKey is where a request's context has its connection.
type connKey struct{}

// WithConn puts the connection of a request into its context, for net/http's
// ConnContext.
func WithConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

func connOf(ctx context.Context) net.Conn {
	conn, _ := ctx.Value(connKey{}).(net.Conn)
	return conn
}
