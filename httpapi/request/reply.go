package request

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/labstack/echo/v4"
)

// Reply is what every handler writes to. It holds the client to a pace, counts
// what was sent, and knows why an answer ended before its time.
type Reply struct {
	http.ResponseWriter
	out  *http.ResponseController
	pace Pace
	sent int64

	began   time.Time     // of the first write
	waited  time.Duration // for the client to take what was written; what is yet to be read from the database is not its fault
	unpaced bool          // the handler sets deadlines itself
	failed  string        // why it was cut off; empty while all is well
}

// Why an answer ends before its time, as the access log says it.
const (
	CutGone   = "client_gone"  // it hung up
	cutSlow   = "client_slow"  // it took too little
	cutTime   = "time_is_up"   // AnswerTime has passed
	CutFailed = "server_error" // what was to follow could not be read
)

// ChunkBytes is the most that one write of events holds. The peer has
// WriteTimeout for each, so it also says which client is too slow.
const ChunkBytes = 16 << 10

// minRate is what a client must take in a second in the long run. Each chunk has
// its own time as well: see Config.WriteTimeout.
const minRate = 32 << 10

// Pace is how fast a client must take an answer.
type Pace struct {
	Write  time.Duration // for each chunk
	Start  time.Duration // before the least rate counts
	Answer time.Duration // for the whole answer
}

// WithReply has all handlers after it write to a reply.
func WithReply(p Pace) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			w := c.Response().Writer
			c.Response().Writer = &Reply{ResponseWriter: w, out: http.NewResponseController(w), pace: p}
			return next(c)
		}
	}
}

// ReplyOf returns the reply to a request.
func ReplyOf(c echo.Context) *Reply {
	a, _ := c.Response().Writer.(*Reply)
	return a
}

// Unwrap lets http.ResponseController find what is below.
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

// deadline is when the next chunk must have been taken.
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

// note remembers the first failure. A client that is slow and one that is gone
// look alike to whoever reads the error alone.
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

// Fail notes why the answer cannot be completed. It reports false where it has failed
// for another reason before.
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

// Cut returns why the answer ended before its time, or nothing. ctx is that of
// the connection.
func (a *Reply) Cut(ctx context.Context) string {
	if a.failed == "" && errors.Is(ctx.Err(), context.Canceled) {
		return CutGone
	}
	return a.failed
}
