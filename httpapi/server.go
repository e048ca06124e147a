package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/taskfeed/taskfeed/httpapi/feeds"
	"github.com/taskfeed/taskfeed/httpapi/inbox"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/httpapi/rest"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/internal/cache"
	"github.com/taskfeed/taskfeed/internal/logs"
)

// Deps is what the server works with. Hub is needed, and Verifier or Authenticate.
type Deps struct {
	Hub      *hub.Hub
	Verifier request.Verifier
	// Authenticate, when set, says who sends a request, in place of Verifier. Nothing
	// else reads a token then.
	Authenticate request.Authenticate
	// Checks decide /readyz, together with whether the server drains.
	Checks []Check
	// Unavailable, when set, says why neither feeds nor history can be served at
	// present, for example because the schema is not migrated. It is asked at each
	// handshake and each request, and must not block.
	Unavailable func() error
	// History answers the URLs of tasks and events; without it they do not exist.
	History rest.History
	// Marks keeps read marks; without it there are none.
	Marks feeds.ReadMarks
	// Clients keeps the cursors of named clients; without it clients have no names.
	Clients feeds.Clients
	// Commands tells all servers what an admin wants; without it no connection
	// can be closed over HTTP.
	Commands Commands
	// Sources lists the attached tables; without it their URL does not exist.
	Sources Sources
	// Inbox takes messages of users; without it they are refused.
	Inbox *inbox.Inbox
	// Messages lists messages of users; without it their URL does not exist.
	Messages Messages
	// Samples, when set, lets whoever has a token change sample tasks of their own
	// at /dev/sample. It is for development only.
	Samples Samples
	// NoMetrics leaves out /metrics, which anybody may read. Admins have /v1/metrics.
	NoMetrics bool
	// Collectors are shown at /metrics beside the server's own.
	Collectors []prometheus.Collector
	// Pages, when set, serves what people look at: /, /demo, /console, /docs and the
	// files of these.
	Pages http.Handler
	// SDK, when set, serves the client for other pages below /sdk/.
	SDK http.Handler
	// Observe, when set, is called at the beginning of each request but those of probes,
	// which gets the context that it returns. The function that it returns is called with
	// the route, as /v1/tasks/:id, and the status at the end: for a stream when it ends,
	// for a WebSocket after the handshake.
	Observe func(*http.Request) (context.Context, func(route string, status int))
	// Elsewhere, when set, is what a caller is told of a URL that this server does not
	// have and another one has.
	Elsewhere string
	// Fleet, when set, asks the other servers for their connections.
	Fleet Fleet
	// Describe, when set, completes what this server says of itself. It must not block.
	Describe func(*ServerInfo)
	// Name is what people call this server; nothing when empty.
	Name string
	// Log is where the server logs; slog.Default() when nil.
	Log *slog.Logger
	// Version is what /healthz shows; nothing when empty.
	Version string
}

// Server serves WebSocket, server-sent events, REST, health and metrics. Make one with
// New. Its methods are safe for concurrent use; Run is called once.
type Server struct {
	deps    Deps
	cfg     Config
	log     *slog.Logger
	metrics *prometheus.Registry
	feeds   *feeds.Feeds
	ready   *cache.Value[[]checkResult]
	tasks   *rest.Handlers     // nil without History
	stop    context.CancelFunc // ends reads on behalf of no single request
	origins *request.Origins
	handler *echo.Echo

	guard *request.Guard
	gate  *request.Gate
}

// New returns a server that is ready to run. The error names every field that
// cannot be used.
func New(deps Deps, cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := errors.Join(deps.validate(), cfg.validate()); err != nil {
		return nil, err
	}
	if deps.Log == nil {
		deps.Log = slog.Default()
	}
	origins, err := request.ReadOrigins(cfg.AllowedOrigins)
	if err != nil {
		return nil, err
	}
	log := slog.New(logs.Guard(deps.Log.Handler()))
	guard := request.NewGuard(deps.Verifier, deps.Authenticate, cfg.VerifyTimeout, cfg.RequestsPerMinute)
	s := &Server{
		deps:    deps,
		cfg:     cfg,
		log:     log,
		origins: origins,
		guard:   guard,
		feeds:   feeds.New(feeds.Deps{Hub: deps.Hub, Guard: guard, Origins: origins, Unavailable: deps.Unavailable, Marks: deps.Marks, Clients: deps.Clients, Inbox: deps.Inbox, Log: log}, cfg.feeds()),
		gate:    request.NewGate(request.GateLimits{Memory: cfg.AnswerBytes, Parallel: cfg.ParallelRequests, Wait: cfg.waitBound(), Handle: cfg.handleBound()}),
	}
	own := append(append(s.feeds.Collectors(), deps.Inbox.Collectors()...), &hubCollector{hub: deps.Hub, maxUsers: cfg.MetricsUsers})
	if s.metrics, err = newMetrics(own, deps.Collectors); err != nil {
		return nil, err
	}
	ready := readiness{checks: deps.Checks, changed: s.checkChanged, failing: make(map[string]bool)}
	s.ready = cache.New(cache.For(cfg.CheckInterval), ready.run)
	var running context.Context
	running, s.stop = context.WithCancel(context.Background())
	if deps.History != nil {
		s.tasks = rest.New(running, deps.History, cfg.AnswerTime)
	}
	if s.handler, err = s.routes(); err != nil {
		return nil, err
	}
	return s, nil
}

func (d Deps) validate() error {
	var errs []error
	if d.Hub == nil {
		errs = append(errs, errors.New("httpapi deps: Hub is missing"))
	}
	if d.Verifier == nil && d.Authenticate == nil {
		errs = append(errs, errors.New("httpapi deps: Verifier and Authenticate are missing"))
	}
	return errors.Join(errs...)
}

// Handler returns the handler of every URL, for a program that listens itself.
func (s *Server) Handler() http.Handler { return s.handler }

// Run serves until ctx is done, then drains: readiness turns 503 and handshakes
// are refused at once, the listener closes after DrainDelay, and sockets are
// closed with 1012, spread over Drain. It returns nil after that, at most
// CloseTimeout later, and an error when it cannot listen or serve. Without an address or
// a listener it serves nothing itself, and drains the connections that came through
// Handler.
func (s *Server) Run(ctx context.Context) error {
	listener, err := s.listen(ctx)
	if err != nil {
		return err
	}
	server := s.httpServer()
	background, stop := context.WithCancel(context.Background()) // outlives ctx: connections are swept while they drain
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	defer s.stop()
	wg.Go(func() { s.feeds.Sweep(background) })
	wg.Go(func() { s.feeds.KeepMarks(background) })
	wg.Go(func() { s.feeds.KeepClients(background) })
	failed := make(chan error, 1)
	if listener != nil {
		wg.Go(func() { failed <- server.Serve(listener) })
		s.log.Info("listening", "addr", listener.Addr().String())
	}
	select {
	case <-ctx.Done():
		s.drain(server, s.cfg.Drain, s.cfg.DrainDelay)
		logs.Flush(s.log.Handler())
		return nil
	case err := <-failed:
		s.drain(server, off, off)
		return fmt.Errorf("serve http: %w", err)
	}
}

// listen returns nil when the program that has the Handler listens.
func (s *Server) listen(ctx context.Context) (net.Listener, error) {
	if s.cfg.Listener != nil || s.cfg.Addr == "" {
		return s.cfg.Listener, nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen for http: %w", err)
	}
	return listener, nil
}

func (s *Server) httpServer() *http.Server {
	return &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: s.cfg.ReadHeaderTimeout,
		ReadTimeout:       s.cfg.RequestTimeout,
		WriteTimeout:      s.cfg.writeBound(),
		IdleTimeout:       s.cfg.IdleTimeout,
		MaxHeaderBytes:    s.cfg.MaxHeaderBytes,
		ConnContext:       s.ConnContext,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
}

// drain ends everything in order and takes no longer than delay, spread and
// CloseTimeout together.
func (s *Server) drain(server *http.Server, spread, delay time.Duration) {
	open := s.feeds.Close()
	s.log.Info("draining", "connections", open, "spread", spread)
	time.Sleep(delay)
	ctx, stop := context.WithTimeout(context.Background(), spread+s.cfg.CloseTimeout+drainGrace)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := server.Shutdown(ctx); err != nil {
			s.log.Warn("requests cut off", "error", err)
			_ = server.Close() // the listener is closed already
		}
	})
	s.feeds.EndAll(spread)
	select {
	case <-s.feeds.Idle():
	case <-ctx.Done():
		s.log.Warn("connections left behind")
	}
	wg.Wait()
}

// drainGrace is how much longer than CloseTimeout, which cuts sockets, drain waits.
const drainGrace = time.Second

// checkChanged logs when a check starts or stops failing.
func (s *Server) checkChanged(name string, err error) {
	if err != nil {
		s.log.Warn("readiness check fails", "check", name, "error", err)
		return
	}
	s.log.Info("readiness check passes again", "check", name)
}

// ConnContext bounds the memory in the kernel for a client that does not read. It is for
// the field of that name of an http.Server.
func (s *Server) ConnContext(ctx context.Context, conn net.Conn) context.Context {
	if tcp, ok := conn.(*net.TCPConn); ok && s.cfg.SendBufferBytes != off {
		_ = tcp.SetWriteBuffer(s.cfg.SendBufferBytes) // else the system's own size
	}
	return feeds.WithConn(ctx, conn)
}
