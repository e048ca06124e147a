package request

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/labstack/echo/v4"
)

// Reply is the response writer of every handler. It sets a deadline for each chunk,
// counts bytes, and records why an answer was cut off.
type Reply struct {
	http.ResponseWriter
	out  *http.ResponseController
	pace Pace
	sent int64

	began   time.Time     // of the first write
	waited  time.Duration // in writes, for the client; time spent reading the database does not count
	unpaced bool          // the handler sets deadlines itself
	failed  string        // why the answer was cut off; empty if it was not
}

// Why an answer was cut off, as the access log shows it.
const (
	CutGone   = "client_gone"  // it hung up
	cutSlow   = "client_slow"  // it took too little
	cutTime   = "time_is_up"   // AnswerTime has passed
	CutFailed = "server_error" // the rest could not be read
)

// ChunkBytes is the most bytes in one write. Each write has its own deadline, so this
// also decides which client is too slow.
const ChunkBytes = 16 << 10

// minRate is how many bytes a second a client must accept on average. Each chunk also
// has its own deadline.
const minRate = 32 << 10

// Pace is how fast a client must read an answer.
type Pace struct {
	Write  time.Duration // for each chunk
	Start  time.Duration // before minRate applies
	Answer time.Duration // for the whole answer
}

// WithReply is middleware that makes a Reply the response writer.
func WithReply(p Pace) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			w := c.Response().Writer
			c.Response().Writer = &Reply{ResponseWriter: w, out: http.NewResponseController(w), pace: p}
			return next(c)
		}
	}
}

// ReplyOf returns the Reply of a request, nil where there is none.
func ReplyOf(c echo.Context) *Reply {
	a, _ := c.Response().Writer.(*Reply)
	return a
}

// Unwrap lets http.ResponseController find the writer below.
func (a *Reply) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Write writes in chunks, each with a deadline of its own.
func (a *Reply) Write(p []byte) (written int, err error) {
	for err == nil {
		chunk := p[written:min(len(p), written+ChunkBytes)]
		if !a.unpaced {
			_ = a.out.SetWriteDeadline(a.deadline(time.Now())) // if it fails, so does the write
		}
		var n int
		began := time.Now()
		n, err = a.ResponseWriter.Write(chunk)
		a.waited += time.Since(began)
		written += n
		a.sent += int64(n)
		if written >= len(p) {
			break
		}
	}
	a.note(err)
	return written, err
}

// deadline is by when the client must have accepted the next chunk.
func (a *Reply) deadline(now time.Time) time.Time {
	if a.began.IsZero() {
		a.began = now
	}
	chunk := now.Add(a.pace.Write)
	least := now.Add(a.pace.Start + time.Duration(a.sent)*time.Second/minRate - a.waited)
	return earliest(chunk, least, a.began.Add(a.pace.Answer))
}

func earliest(first time.Time, others ...time.Time) time.Time {
	for _, t := range others {
		if t.Before(first) {
			first = t
		}
	}
	return first
}

// Flush implements http.Flusher, for handlers that look for it.
func (a *Reply) Flush() {
	began := time.Now()
	err := a.out.Flush()
	a.waited += time.Since(began)
	a.note(err)
}

// note records why a write failed. A later error may no longer tell a slow client from
// one that hung up, so the first reason stays.
func (a *Reply) note(err error) {
	switch {
	case err == nil:
	case !errors.Is(err, os.ErrDeadlineExceeded):
		a.Fail(CutGone)
	case time.Since(a.began) >= a.pace.Answer:
		a.Fail(cutTime)
	default:
		a.Fail(cutSlow)
	}
}

// Fail records why the answer is cut off and reports whether this is the first reason.
func (a *Reply) Fail(why string) bool {
	first := a.failed == ""
	if first {
		a.failed = why
	}
	return first
}

// Unpace leaves the deadlines of writes to the handler.
func (a *Reply) Unpace() { a.unpaced = true }

// BytesSent returns how many bytes of the body were written.
func (a *Reply) BytesSent() int64 { return a.sent }

// Cut returns why the answer was cut off, empty if it was not. ctx is that of the
// connection.
func (a *Reply) Cut(ctx context.Context) string {
	if a.failed == "" && errors.Is(ctx.Err(), context.Canceled) {
		return CutGone
	}
	return a.failed
}
