package feeds

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/internal/wsframe"
)

// The format of server-sent events is that of the HTML standard. Each event of the feed
// is one event of the stream: its ID is the id, its type the event, its frame the data.
// The last id that a browser's EventSource remembers is its cursor.

// ServeStream serves a feed as a stream of server-sent events until the client
// goes or the server ends it.
func (f *Feeds) ServeStream(c echo.Context) error {
	err := f.stream(c)
	if err == nil {
		return nil
	}
	f.metrics.refused(c.Request().Context(), err)
	if r := c.Request(); taskfeed.CodeOf(err) == taskfeed.CodeUnavailable && r.Method == http.MethodGet && isResuming(r) {
		return retryLater(c)
	}
	return err
}

// retryLater answers a client that reconnects with a stream that ends at once. A
// browser's EventSource connects again after the end of a stream, but gives up for good
// after a status such as 503.
func retryLater(c echo.Context) error {
	streamHeader(c.Response().Header())
	c.Response().WriteHeader(http.StatusOK)
	_, err := c.Response().Write(appendClosed(appendRetry(nil, retryAfter), wsframe.CloseRestart, reasonRetryLater))
	return err
}

func (f *Feeds) stream(c echo.Context) error {
	if err := f.admit(c.Request()); err != nil {
		return err
	}
	if _, err := request.Negotiate(c.Request(), request.TypeEventStream); err != nil {
		return err
	}
	return f.deps.Guard.Protect(request.HeaderOrQueryToken, f.openStream)(c)
}

// openStream checks what the request asks for, takes a place in the hub and
// serves the stream.
func (f *Feeds) openStream(c echo.Context, principal auth.Principal) error {
	p, err := request.ReadParams(c.Request())
	if err != nil {
		return err
	}
	knowPosition(p)
	p.Know("token")
	progress := progressInterval(p)
	if _, ok := p.One("client"); ok {
		p.Refuse("client", "is for WebSocket: the client of a stream keeps its cursor itself, and sends it as Last-Event-ID")
	}
	filter, owner, unread, err := f.feedFilter(p, principal)
	if err != nil {
		return err
	}
	after, err := position(c.Request())
	if err != nil {
		return err
	}
	if err := f.Available(); err != nil {
		return err
	}
	if c.Request().Method == http.MethodHead {
		streamHeader(c.Response().Header())
		return c.NoContent(http.StatusOK)
	}
	id, ok := f.registry.enter()
	if !ok {
		return request.ErrDraining
	}
	defer f.registry.leave()
	release, err := f.deps.Hub.Reserve(principal.UserID)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(c.Request().Context())
	defer stop()
	st := f.newStream(c, id, principal, stop)
	st.named, st.owner, st.unread = filter.All, owner, unread
	sub, err := f.subscribe(hub.SubscribeOptions{Filter: filter, Owner: principal.UserID, After: after, WantLive: true, Wake: st.wake}, progress)
	if err != nil {
		release()
		return err
	}
	st.sub = sub
	st.release = func() { sub.Close(); release() }
	request.SetConnectionID(c, st.name())
	st.serve(ctx, c.Response())
	return nil
}

func streamHeader(h http.Header) {
	h.Set("Content-Type", request.TypeEventStream+"; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold the events back
	h.Set("X-Content-Type-Options", "nosniff")
}

func (f *Feeds) newStream(c echo.Context, id uint64, p auth.Principal, stop func()) *stream {
	w := c.Response().Writer // echo's own hides errors of Flush
	if a := request.ReplyOf(c); a != nil {
		a.Unpace()
	}
	var k keepalive
	k.expireAt(f.now(), p.ExpiresAt)
	return &stream{
		feeds:   f,
		id:      id,
		userID:  p.UserID,
		remote:  request.ClientAddr(c.Request(), f.cfg.TrustedProxies).String(),
		since:   time.Now(),
		expires: k.expires,
		wakes:   make(chan struct{}, 1),
		stop:    stop,
		w:       w,
		out:     http.NewResponseController(w),
		conn:    connOf(c.Request().Context()),
	}
}

// How long a client that has lost its stream waits before it comes back.
const (
	retryAfter = 2 * time.Second
	// retryNever is for clients that must not connect again: a browser's EventSource
	// can only be told how long to wait.
	retryNever = 24 * time.Hour
)

// appendRetry appends the field that tells the client how long to wait before it
// connects again.
func appendRetry(dst []byte, d time.Duration) []byte {
	dst = append(dst, "retry: "...)
	return append(strconv.AppendInt(dst, d.Milliseconds(), 10), '\n')
}

// appendBeginning appends what every stream begins with: how long to wait before
// connecting again, and, in a comment, the longest silence of a healthy stream. A client
// cannot ping the server, so it needs that to recognize a dead stream. No empty line
// follows: widely used clients turn every empty line into a message without data.
func appendBeginning(dst []byte, silence time.Duration) []byte {
	dst = append(appendRetry(dst, retryAfter), ": silence "...)
	return append(strconv.AppendInt(dst, silence.Milliseconds(), 10), '\n')
}

// appendEvent appends what goes before the data of an event. Neither types nor
// frames hold line breaks: the schema refuses such types, and JSON as Postgres
// prints it has none.
func appendEvent(dst []byte, f *hub.Frame) []byte {
	dst = append(dst, "event: "...)
	dst = append(dst, f.Type...)
	return append(dst, "\ndata: "...)
}

// appendEventEnd appends what ends the data and the event. The id comes last:
// many clients store it as soon as they have read its line. If it came first and the
// stream broke before the data, the client's cursor would be past an event that it has
// not seen.
func appendEventEnd(dst []byte, f *hub.Frame) []byte {
	if isNote(f) {
		return append(dst, '\n', '\n')
	}
	dst = append(dst, "\nid: "...)
	dst = strconv.AppendInt(dst, int64(f.ID), 10)
	return append(dst, '\n', '\n')
}

// isNote reports whether a frame has no place in the log, and so no id.
func isNote(f *hub.Frame) bool { return f.Type == taskfeed.TypeFeedRead }

// appendComment appends a comment, which keeps a silent stream alive. If the cursor is
// newer than the known one, it also sets the client's last id, so that a stream whose
// filter selects few events does not resume from an old one.
func appendComment(dst []byte, cursor, known taskfeed.Cursor) []byte {
	dst = append(dst, ':', '\n')
	if cursor <= known {
		return dst
	}
	dst = append(dst, "id: "...)
	dst = strconv.AppendInt(dst, int64(cursor), 10)
	return append(dst, '\n', '\n')
}

// appendClosed appends the event that says why the server ends the stream. The code is
// the close code of a WebSocket.
func appendClosed(dst []byte, code int, reason string) []byte {
	if code == taskfeed.CloseDisconnected {
		dst = appendRetry(dst, retryNever)
	}
	return fmt.Appendf(dst, "event: %[1]s\ndata: {\"type\":\"%[1]s\",\"code\":%[2]d,\"reason\":%[3]q}\n\n",
		taskfeed.TypeFeedClosed, code, reason) // the reasons are our own and ASCII, so %q is JSON
}
