package httpapi

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed/httpapi/request"
)

// prefixAPI is what the URLs of the API begin with.
const prefixAPI = "/v1/"

// What pages of other origins may send and read. Tokens travel in Authorization
// alone: there are no cookies, so credentials are never allowed. Libraries add
// harmless headers of their own: Cache-Control and X-Requested-With (react-native-sse),
// traceparent and similar ones (tracing). The star allows all headers except
// Authorization; the names are for browsers that do not know the star.
const (
	corsHeaders = "Accept, Authorization, baggage, Cache-Control, Content-Type, If-None-Match, Last-Event-ID, Pragma, sentry-trace, " +
		"traceparent, tracestate, X-Request-Id, X-Requested-With, *"
	corsExposed = "Content-Disposition, ETag, Link, Retry-After, X-Request-Id"
	corsMaxAge  = "600" // seconds
)

// withCORS allows pages of the allowed origins to use the API and refuses all others.
// WebSocket has the same list.
func (s *Server) withCORS(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r, header := c.Request(), c.Response().Header()
		if !strings.HasPrefix(r.URL.Path, prefixAPI) {
			return next(c)
		}
		header.Add("Vary", "Origin")
		if r.Header.Get("Origin") == "" {
			return next(c)
		}
		if !s.origins.Allow(r) {
			return request.ErrOrigin
		}
		header.Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
		header.Set("Access-Control-Expose-Headers", corsExposed)
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			allowed, _ := c.Get(echo.ContextKeyHeaderAllow).(string) // empty where there is no such URL
			header.Set("Access-Control-Allow-Methods", allowed)
			header.Set("Access-Control-Allow-Headers", corsHeaders)
			header.Set("Access-Control-Max-Age", corsMaxAge)
		}
		return next(c)
	}
}
