package httpapi

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/labstack/echo/v4"
)

// reply is what every handler writes to. It holds the client to a pace, counts
// what was sent, and knows why an answer ended before its time.
type reply struct {
	http.ResponseWriter
	out  *http.ResponseController
	cfg  *Config
	sent int64

	began   time.Time     // of the first write
	waited  time.Duration // for the client to take what was written; what is yet to be read from the database is not its fault
	unpaced bool          // the handler sets deadlines itself
	failed  string        // why it was cut off; empty while all is well
}

// Why an answer ends before its time, as the access log says it.
const (
	cutGone   = "client_gone"  // it hung up
	cutSlow   = "client_slow"  // it took too little
	cutTime   = "time_is_up"   // AnswerTime has passed
	cutFailed = "server_error" // what was to follow could not be read
)

// minRate is what a client must take in a second in the long run. Each chunk has
// its own time as well: see Config.WriteTimeout.
const minRate = 32 << 10

// withReply puts it before the handlers.
func (s *Server) withReply(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		w := c.Response().Writer
		c.Response().Writer = &reply{ResponseWriter: w, out: http.NewResponseController(w), cfg: &s.cfg}
		return next(c)
	}
}

// replyOf returns the reply to a request.
func replyOf(c echo.Context) *reply {
	a, _ := c.Response().Writer.(*reply)
	return a
}

// Unwrap lets http.ResponseController find what is below.
func (a *reply) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Write writes in chunks, each with a deadline of its own.
func (a *reply) Write(p []byte) (written int, err error) {
	for err == nil {
		chunk := p[written:min(len(p), written+chunkBytes)]
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
func (a *reply) deadline(now time.Time) time.Time {
	if a.began.IsZero() {
		a.began = now
	}
	chunk := now.Add(a.cfg.WriteTimeout)
	pace := now.Add(a.cfg.RequestTimeout + time.Duration(a.sent)*time.Second/minRate - a.waited)
	return earliest(chunk, pace, a.began.Add(a.cfg.AnswerTime))
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
func (a *reply) Flush() {
	began := time.Now()
	err := a.out.Flush()
	a.waited += time.Since(began)
	a.note(err)
}

// note remembers the first failure. A client that is slow and one that is gone
// look alike to whoever reads the error alone.
func (a *reply) note(err error) {
	if err == nil || a.failed != "" {
		return
	}
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		a.failed = cutGone
	case time.Since(a.began) >= a.cfg.AnswerTime:
		a.failed = cutTime
	default:
		a.failed = cutSlow
	}
}

// cut returns why the answer ended before its time, or nothing. ctx is that of
// the connection.
func (a *reply) cut(ctx context.Context) string {
	if a.failed == "" && errors.Is(ctx.Err(), context.Canceled) {
		return cutGone
	}
	return a.failed
}
