package httpapi

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/httpapi/rest"
	"github.com/taskfeed/taskfeed/internal/cache"
)

// Paths that other code refers to.
const (
	pathSocket       = "/ws/:user_id"
	pathSocketQuery  = "/ws" // the same, with the user in the query
	pathStream       = "/v1/events/stream"
	pathMessages     = "/v1/me/messages"
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
	e.Use(withRequestID, s.withObserver, request.WithReply(s.cfg.pace()), s.withAccessLog, withRecover, withHTTP1, withPathLimit, s.withBodyLimit, withoutBody, s.withCORS, s.withReadableQuery)

	// Each URL with an id in its path also exists with the id in the query, for proxies
	// that decode paths: an id may contain slashes and dots.
	e.GET(pathSocket, s.feeds.ServeSocket)
	e.GET(pathSocketQuery, s.feeds.ServeSocket)
	e.Match(getOrHead, pathStream, s.feeds.ServeStream)

	e.Match(getOrHead, "/v1/me", s.forUsers(s.handleMe), uncached)
	e.POST(pathMessages, s.forUsers(s.handleMessage))
	if s.deps.Messages != nil {
		e.Match(getOrHead, "/v1/messages", s.forAdmins(s.handleMessages), uncached)
	}
	e.Match(getOrHead, "/v1/status", s.forUsers(s.handleStatus), uncached)
	e.Match(getOrHead, "/v1/connections", s.forAdmins(s.handleConnections), uncached)
	if s.deps.Commands != nil {
		e.DELETE("/v1/connections/:id", s.forAdmins(s.handleDisconnect))
		e.DELETE("/v1/users/:id/connections", s.forAdmins(s.handleDisconnectUser))
		e.DELETE("/v1/user-by-id/connections", s.forAdmins(s.handleDisconnectUser))
	}
	if s.tasks != nil {
		s.taskRoutes(e, "/v1", s.forAdmins, rest.AllRows)
		s.taskRoutes(e, "/v1/me", s.forUsers, rest.OwnRows)
		e.Match(getOrHead, "/v1/stats", s.forAdmins(s.viewed(rest.AllRows, s.tasks.ServeStats)), uncached)
	}
	if s.deps.Marks != nil {
		e.PUT("/v1/me/read", s.forUsers(s.handleRead))
		e.Match(getOrHead, "/v1/me/unread", s.forUsers(s.handleUnread), uncached)
	}
	if s.deps.Clients != nil {
		e.Match(getOrHead, "/v1/users/:id/clients", s.forAdmins(s.handleClients), uncached)
		e.Match(getOrHead, "/v1/user-by-id/clients", s.forAdmins(s.handleClients), uncached)
		e.Match(getOrHead, "/v1/me/clients", s.forUsers(s.handleMyClients), uncached)
	}
	if s.deps.Sources != nil {
		e.Match(getOrHead, "/v1/sources", s.forAdmins(s.handleSources), uncached)
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
	if !s.deps.NoMetrics {
		e.GET(pathMetrics, metrics)
	}
	e.GET("/v1/metrics", s.forAdmins(func(c echo.Context, _ auth.Principal) error { return metrics(c) }), uncached)

	if err := contractRoutes(e); err != nil {
		return nil, err
	}
	if s.deps.Pages != nil {
		pages := echo.WrapHandler(s.deps.Pages)
		for _, path := range []string{"/", "/demo", "/static/*", "/console", "/console/*", "/docs", "/docs/*"} {
			e.Match(getOrHead, path, pages)
		}
	}
	if s.deps.SDK != nil {
		e.Match(getOrHead, "/sdk/*", echo.WrapHandler(s.deps.SDK))
	}
	if s.deps.Elsewhere != "" {
		e.RouteNotFound("/*", func(echo.Context) error {
			return &taskfeed.Error{Code: taskfeed.CodeNotFound, Message: s.deps.Elsewhere}
		})
	}
	return e, nil
}

// taskRoutes adds the URLs of tasks and events below a prefix, with who may call them
// and what rows they see.
func (s *Server) taskRoutes(e *echo.Echo, prefix string, allow func(request.Handler) echo.HandlerFunc, rows func(auth.Principal) rest.Viewer) {
	get := func(path string, serve func(echo.Context, rest.Viewer) error, m ...echo.MiddlewareFunc) {
		e.Match(getOrHead, prefix+path, allow(s.viewed(rows, serve)), m...)
	}
	get("/tasks", s.tasks.ServeTasks, uncached)
	get("/tasks/:id", s.tasks.ServeTask)
	get("/tasks/:id/events", s.tasks.ServeTimeline, uncached)
	get("/task-by-id", s.tasks.ServeTask)
	get("/task-by-id/events", s.tasks.ServeTimeline, uncached)
	get("/events", s.tasks.ServeEvents, uncached)
}

// viewed gives a handler the viewer of its caller, where the history can be read.
func (s *Server) viewed(rows func(auth.Principal) rest.Viewer, serve func(echo.Context, rest.Viewer) error) request.Handler {
	return func(c echo.Context, p auth.Principal) error {
		if err := s.feeds.Available(); err != nil {
			return err
		}
		return serve(c, rows(p))
	}
}
