package httpapi

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Paths that other code refers to.
const (
	pathSocket       = "/ws/:user_id"
	pathHealth       = "/healthz"
	pathReady        = "/readyz"
	pathSocketHealth = "/health/websockets"
	pathMetrics      = "/metrics"
)

// getOrHead is what plain pages answer to.
var getOrHead = []string{http.MethodGet, http.MethodHead}

// routes returns the handler of every URL.
func (s *Server) routes() http.Handler {
	e := echo.New()
	e.HTTPErrorHandler = s.handleError
	e.Use(withRequestID, s.withAccessLog, withRecover, withHTTP1, s.withBodyLimit)

	e.GET(pathSocket, s.handleSocket)

	e.Match(getOrHead, pathHealth, s.handleHealth)
	e.Match(getOrHead, pathReady, s.handleReady)
	e.GET(pathSocketHealth, s.handleSocketHealth)
	e.GET(pathMetrics, echo.WrapHandler(promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{})))

	if s.deps.Pages != nil {
		pages := echo.WrapHandler(s.deps.Pages)
		e.Match(getOrHead, "/", pages)
		e.Match(getOrHead, "/static/*", pages)
	}
	return e
}
