package httpapi

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/internal/cache"
)

// Paths that other code refers to.
const (
	pathSocket       = "/ws/:user_id"
	pathSocketQuery  = "/ws" // the same, with the user in the query
	pathStream       = "/v1/events/stream"
	pathHealth       = "/healthz"
	pathReady        = "/readyz"
	pathSocketHealth = "/health/websockets"
	pathMetrics      = "/metrics"
)

// getOrHead is what plain pages answer to.
var getOrHead = []string{http.MethodGet, http.MethodHead}

// routes returns the handler of every URL. An error is a fault of the contract's
// documents.
func (s *Server) routes() (*echo.Echo, error) {
	e := echo.New()
	e.HTTPErrorHandler = s.handleError
	e.Use(withRequestID, request.WithReply(s.cfg.pace()), s.withAccessLog, withRecover, withHTTP1, withPathLimit, s.withBodyLimit, withoutBody, s.withCORS, s.withReadableQuery)

	// What has an id in its path has a twin with the id in the query, for proxies
	// that decode paths: an id may hold slashes and dots.
	e.GET(pathSocket, s.feeds.ServeSocket)
	e.GET(pathSocketQuery, s.feeds.ServeSocket)
	e.Match(getOrHead, pathStream, s.feeds.ServeStream)

	e.Match(getOrHead, "/v1/me", s.forUsers(s.handleMe), uncached)
	e.Match(getOrHead, "/v1/status", s.forUsers(s.handleStatus), uncached)
	e.Match(getOrHead, "/v1/connections", s.forAdmins(s.handleConnections), uncached)
	if s.deps.Commands != nil {
		e.DELETE("/v1/connections/:id", s.forAdmins(s.handleDisconnect))
		e.DELETE("/v1/users/:id/connections", s.forAdmins(s.handleDisconnectUser))
		e.DELETE("/v1/user-by-id/connections", s.forAdmins(s.handleDisconnectUser))
	}
	if s.deps.History != nil {
		e.Match(getOrHead, "/v1/tasks", s.forAdmins(s.handleTasks), uncached)
		e.Match(getOrHead, "/v1/tasks/:id", s.forAdmins(s.handleTask))
		e.Match(getOrHead, "/v1/tasks/:id/events", s.forAdmins(s.handleTimeline), uncached)
		e.Match(getOrHead, "/v1/task-by-id", s.forAdmins(s.handleTask))
		e.Match(getOrHead, "/v1/task-by-id/events", s.forAdmins(s.handleTimeline), uncached)
		e.Match(getOrHead, "/v1/events", s.forAdmins(s.handleEvents), uncached)
		e.Match(getOrHead, "/v1/stats", s.forAdmins(s.handleStats), uncached)
		e.Match(getOrHead, "/v1/me/tasks", s.forUsers(s.handleMyTasks), uncached)
		e.Match(getOrHead, "/v1/me/tasks/:id", s.forUsers(s.handleMyTask))
		e.Match(getOrHead, "/v1/me/tasks/:id/events", s.forUsers(s.handleMyTimeline), uncached)
		e.Match(getOrHead, "/v1/me/task-by-id", s.forUsers(s.handleMyTask))
		e.Match(getOrHead, "/v1/me/task-by-id/events", s.forUsers(s.handleMyTimeline), uncached)
		e.Match(getOrHead, "/v1/me/events", s.forUsers(s.handleMyEvents), uncached)
	}

	if s.deps.Samples != nil {
		e.GET(pathSamples, s.forUsers(s.handleSampleActions), uncached)
		e.POST(pathSamples, s.forUsers(s.handleSample), uncached)
	}

	e.Match(getOrHead, pathHealth, s.handleHealth)
	e.Match(getOrHead, pathReady, s.handleReady)
	e.GET(pathSocketHealth, s.handleSocketHealth)
	gathered := cache.New(cache.For(s.cfg.CheckInterval), s.metrics.Gather)
	metrics := echo.WrapHandler(promhttp.HandlerFor(gatherer(gathered), promhttp.HandlerOpts{}))
	e.GET(pathMetrics, metrics)
	e.GET("/v1/metrics", s.forAdmins(func(c echo.Context, _ auth.Principal) error { return metrics(c) }), uncached)

	if err := contractRoutes(e); err != nil {
		return nil, err
	}
	if s.deps.Pages != nil {
		pages := echo.WrapHandler(s.deps.Pages)
		for _, path := range []string{"/", "/demo", "/static/*", "/console", "/console/*", "/sdk/*"} {
			e.Match(getOrHead, path, pages)
		}
	}
	return e, nil
}
