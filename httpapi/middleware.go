package httpapi

import (
	"crypto/rand"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/internal/logs"
)

// withRequestID gives every request an id and returns it with the response. The id is
// the caller's own if it is acceptable.
func withRequestID(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		id := c.Request().Header.Get(request.HeaderID)
		if !acceptableID(id) {
			id = rand.Text()
		}
		request.SetID(c, id)
		return next(c)
	}
}

// acceptableID reports whether an id from outside may be logged and returned.
func acceptableID(id string) bool {
	for i := range len(id) {
		switch c := id[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return len(id) > 0 && len(id) <= 64 && !logs.HasToken(id)
}

// withObserver tells Deps.Observe of each request but those of probes.
func (s *Server) withObserver(next echo.HandlerFunc) echo.HandlerFunc {
	if s.deps.Observe == nil {
		return next
	}
	return func(c echo.Context) error {
		if quietPaths[c.Path()] {
			return next(c)
		}
		ctx, end := s.deps.Observe(c.Request())
		c.SetRequest(c.Request().WithContext(ctx))
		defer func() { end(c.Path(), c.Response().Status) }() // also when a handler panics to cut the connection
		return next(c)
	}
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
				err = request.PanicError(v)
			}
		}()
		return next(c)
	}
}

// withBodyLimit bounds what a handler can read of a request's body.
func (s *Server) withBodyLimit(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.ContentLength > int64(s.cfg.MaxBodyBytes) {
			return request.ErrBodyTooLarge
		}
		r.Body = http.MaxBytesReader(c.Response(), r.Body, int64(s.cfg.MaxBodyBytes))
		return next(c)
	}
}

// withHTTP1 refuses the preface of HTTP/2 without TLS, which net/http passes on as a
// request where it does not speak HTTP/2.
func withHTTP1(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if c.Request().ProtoMajor == 1 || c.Request().Method != "PRI" {
			return next(c)
		}
		c.Response().Header().Set("Connection", "close")
		return request.ErrHTTP2
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

// withoutBody ignores the body of a GET or HEAD to the API, which reads none, and
// refuses other methods with a body. It does not wait for the body to arrive.
func withoutBody(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.ContentLength == 0 || !strings.HasPrefix(r.URL.Path, prefixAPI) || r.Method == http.MethodPost && c.Path() == pathMessages {
			return next(c)
		}
		c.Response().Header().Set("Connection", "close") // otherwise net/http reads the body before it answers
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return errNoBody
		}
		return next(c)
	}
}

// withReadableQuery refuses, at every URL, a query that cannot be parsed.
func (s *Server) withReadableQuery(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if _, err := request.ParseQuery(c.Request().URL.RawQuery); err != nil {
			if c.Path() == pathSocket || c.Path() == pathSocketQuery || c.Path() == pathStream {
				s.feeds.CountRefusal(c.Request().Context(), err)
			}
			return err
		}
		return next(c)
	}
}

// uncached keeps history out of all caches.
func uncached(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Header().Set("Cache-Control", "no-store")
		return next(c)
	}
}
