package httpapi

import (
	"context"
	"log/slog"
	"net/url"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/internal/logs"
)

// quietPaths are requested by machines every few seconds, so they are logged at debug.
var quietPaths = map[string]bool{pathHealth: true, pathReady: true, pathSocketHealth: true, pathMetrics: true}

// withAccessLog writes one line about each request once it is answered, errors
// and answers that were cut off included.
func (s *Server) withAccessLog(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		client := c.Request().Context()
		defer s.logRequest(c, time.Now(), client) // also when a handler panics to cut the connection
		if err := request.BlameClient(client, next(c)); err != nil {
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
	r, a := c.Request(), request.ReplyOf(c)
	attrs := []slog.Attr{
		slog.String("request_id", request.ID(c)),
		slog.String("method", r.Method[:min(len(r.Method), 16)]),
		slog.String("url", loggedURL(r.URL)),
		slog.Int("status", c.Response().Status),
		slog.Int64("bytes", a.BytesSent()),
		slog.Duration("duration", time.Since(start)),
		slog.String("remote_addr", request.ClientAddr(r, s.cfg.TrustedProxies).String()),
	}
	if id := request.ConnectionID(c); id != "" {
		attrs = append(attrs, slog.String("connection_id", id)) // its end has a line of its own
	} else if why := a.Cut(ctx); why != "" {
		attrs = append(attrs, slog.String("cut", why))
	}
	if code := request.RefusalCode(c); code != "" {
		attrs = append(attrs, slog.String("code", string(code)), logs.Bounded(string(code)))
	}
	s.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// loggedParams are the query parameters whose values may be logged. All others
// are redacted: a token may be in any of them.
var loggedParams = []string{"after", "all", "created_after", "created_before", "ended", "id", "kind", "limit", "since", "sort", "stalled_after", "status",
	"task_id", "type", "types", "until", "updated_after", "updated_before", "user_id", "verbose"}

// maxLoggedURL is the most bytes of a URL in the log.
const maxLoggedURL = 512

// loggedURL is a request's URL as it may be logged: without anything that might
// be a token, decoded, and cut off where it is long.
func loggedURL(u *url.URL) string {
	s := u.Path
	if u.RawQuery != "" {
		s += "?" + loggedQuery(u.RawQuery)
	}
	s = logs.Redact(s)
	return s[:min(len(s), maxLoggedURL)]
}

// loggedQuery is a query as it may be logged, but for names that are tokens.
func loggedQuery(raw string) string {
	query, err := request.ParseQuery(raw)
	if err != nil {
		return "UNREADABLE"
	}
	logged := make(url.Values, len(query))
	for name, values := range query {
		for _, value := range values {
			if !slices.Contains(loggedParams, name) || logs.HasToken(value) {
				value = logs.Redacted
			}
			logged.Add(name, value)
		}
	}
	return logged.Encode()
}
