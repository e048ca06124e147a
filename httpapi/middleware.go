package httpapi

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/logs"
)

// Keys of what handlers and middleware leave in echo's context.
const (
	keyRequestID    = "request_id"
	keyConnectionID = "connection_id"
	keyRefusal      = "refusal" // the code of what was refused
)

const headerRequestID = "X-Request-Id"

// requestID is the id of the request, as withRequestID settled it.
func requestID(c echo.Context) string {
	id, _ := c.Get(keyRequestID).(string)
	return id
}

// withRequestID gives every request an id, the caller's own when it is sane, and
// returns it with the response.
func withRequestID(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		id := c.Request().Header.Get(headerRequestID)
		if !saneID(id) {
			id = rand.Text()
		}
		c.Set(keyRequestID, id)
		c.Response().Header().Set(headerRequestID, id)
		return next(c)
	}
}

// saneID reports whether an id from outside may be logged and returned.
func saneID(id string) bool {
	for i := range len(id) {
		switch c := id[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return len(id) > 0 && len(id) <= 64 && !logs.HasToken(id)
}

// quietPaths are asked for every few seconds by machines; at info they would
// drown the rest.
var quietPaths = map[string]bool{pathHealth: true, pathReady: true, pathSocketHealth: true, pathMetrics: true}

// withAccessLog writes one line about each request once it is answered, errors
// and answers that were cut off included.
func (s *Server) withAccessLog(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		client := c.Request().Context()
		defer s.logRequest(c, time.Now(), client) // a handler that has the connection cut panics
		if err := ofClient(client, next(c)); err != nil {
			c.Error(err)
		}
		return nil
	}
}

// logRequest writes the line. ctx is that of the connection: it is done when the
// client is gone.
func (s *Server) logRequest(c echo.Context, start time.Time, ctx context.Context) {
	level := slog.LevelInfo
	if quietPaths[c.Path()] {
		level = slog.LevelDebug
	}
	r, a := c.Request(), replyOf(c)
	attrs := []slog.Attr{
		slog.String("request_id", requestID(c)),
		slog.String("method", r.Method[:min(len(r.Method), 16)]),
		slog.String("url", loggedURL(r.URL)),
		slog.Int("status", c.Response().Status),
		slog.Int64("bytes", a.sent),
		slog.Duration("duration", time.Since(start)),
		slog.String("remote_addr", clientAddr(r, s.cfg.TrustedProxies).String()),
	}
	if id, ok := c.Get(keyConnectionID).(string); ok {
		attrs = append(attrs, slog.String("connection_id", id)) // how it ended is in a line of its own
	} else if why := a.cut(ctx); why != "" {
		attrs = append(attrs, slog.String("cut", why))
	}
	if code, ok := c.Get(keyRefusal).(taskfeed.Code); ok {
		attrs = append(attrs, slog.String("code", string(code)), logs.Bounded(string(code)))
	}
	s.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// withRecover turns a panic of a handler into an internal error.
func withRecover(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler:
				panic(v) // asks net/http to cut the connection
			default:
				err = panicError(v)
			}
		}()
		return next(c)
	}
}

// panicError carries a panic and its stack to the log.
func panicError(v any) error {
	return &taskfeed.Error{
		Code:    taskfeed.CodeInternal,
		Message: errInternal.Message,
		Err:     fmt.Errorf("panic: %v\n%s", v, debug.Stack()),
	}
}

// withBodyLimit bounds what a handler can read of a request's body.
func (s *Server) withBodyLimit(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.ContentLength > int64(s.cfg.MaxBodyBytes) {
			return errBodyTooLarge
		}
		r.Body = http.MaxBytesReader(c.Response(), r.Body, int64(s.cfg.MaxBodyBytes))
		return next(c)
	}
}

// withHTTP1 refuses the preface of HTTP/2 without TLS, which net/http hands to
// us as a request.
func withHTTP1(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if c.Request().ProtoMajor == 1 {
			return next(c)
		}
		c.Response().Header().Set("Connection", "close")
		return errHTTP2
	}
}

// maxPathBytes bounds a path: an id of 255 bytes, each of them escaped, fits.
const maxPathBytes = 2 << 10

var (
	errPathTooLong = &taskfeed.Error{Code: taskfeed.CodeURITooLong,
		Message: "the path is longer than any that exists; check the id in it"}
	errNoBody = &taskfeed.Error{Code: taskfeed.CodeUnsupportedMedia,
		Message: "this URL reads no body; send the request without one"}
)

func withPathLimit(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if len(c.Request().URL.EscapedPath()) > maxPathBytes {
			return errPathTooLong
		}
		return next(c)
	}
}

// withoutBody keeps bodies away from the API, which reads none: with GET they
// are ignored, with other methods refused. Nobody waits for one to arrive.
func withoutBody(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.ContentLength == 0 || !strings.HasPrefix(r.URL.Path, prefixAPI) {
			return next(c)
		}
		c.Response().Header().Set("Connection", "close") // else net/http reads the body before it answers
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return errNoBody
		}
		return next(c)
	}
}
