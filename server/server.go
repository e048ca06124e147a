package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi"
	"github.com/taskfeed/taskfeed/httpapi/inbox"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/internal/service"
	"github.com/taskfeed/taskfeed/listener"
	"github.com/taskfeed/taskfeed/store"
	"github.com/taskfeed/taskfeed/store/history"
	"github.com/taskfeed/taskfeed/web"
)

// Principal is the caller of a request, as Config.Authenticate returns it.
type Principal = auth.Principal

// RoleAdmin is the role of a Principal that may see everything.
const RoleAdmin = auth.RoleAdmin

// Server is one taskfeed server. Make it with New. Its methods are safe for concurrent
// use; Run is called once.
type Server struct {
	cfg      Config
	store    *store.Store
	hub      *hub.Hub
	listener *listener.Listener
	verifier *auth.Verifier // nil with Config.Authenticate
	hazards  *hazardWatch
	tracer   *tracer      // nil: no traces
	inbox    *inbox.Inbox // nil: off
	looks    *looks
	core     *core // nil without gateways
	http     *httpapi.Server
	ran      atomic.Bool // Run was called
	prepared atomic.Bool // the schema is there
}

// New returns a server that is ready to run. It connects to nothing; Run does, and
// releases what New has allocated. The error names every field that cannot be used.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	s := &Server{cfg: cfg}
	var err error
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.TracerProvider != nil {
		s.tracer = &tracer{cfg.TracerProvider.Tracer(scope)}
	}
	if cfg.Authenticate == nil {
		if s.verifier, err = auth.New(cfg.Tokens); err != nil {
			return nil, err
		}
	}
	if s.store, err = store.Open(context.Background(), cfg.Database); err != nil {
		return nil, err
	}
	if err := s.build(); err != nil {
		s.store.Close()
		return nil, err
	}
	return s, nil
}

// build makes the parts that need the store.
func (s *Server) build() (err error) {
	if s.hub, err = hub.New(s.log(), s.cfg.Hub); err != nil {
		return err
	}
	s.looks = &looks{log: s.store}
	if s.cfg.Relay.Engine.URLs != "" {
		s.core = newCore(s.cfg, s.hub, s.store, s.looks)
		s.cfg.Listener.Leading, s.cfg.Listener.EngineAway = s.core.lead, s.core.away
	}
	if s.listener, err = listener.New(s.session, s.hub, s.cfg.Listener); err != nil {
		return err
	}
	s.hazards = &hazardWatch{look: s.store.Hazards, logger: s.cfg.Log}
	if len(s.cfg.Inbox.Topics) > 0 {
		if s.inbox, err = inbox.New(s.store, s.cfg.Inbox, s.cfg.Log); err != nil {
			return err
		}
	}
	if s.http, err = httpapi.New(s.deps(), s.cfg.HTTP); err == nil && s.core != nil {
		s.core.http = s.http
	}
	return err
}

// log is what subscribers read.
func (s *Server) log() hub.Log {
	if s.tracer == nil {
		return s.store
	}
	return tracedLog{s.store, *s.tracer}
}

func (s *Server) session(ctx context.Context) (listener.Session, error) {
	session, err := s.store.OpenSession(ctx)
	if err != nil || s.tracer == nil {
		return session, err
	}
	return tracedSession{session, *s.tracer}, nil
}

func (s *Server) deps() httpapi.Deps {
	past := history.New(s.store.Queries())
	deps := httpapi.Deps{
		Hub:          s.hub,
		Authenticate: s.cfg.Authenticate,
		Unavailable:  s.unavailable,
		History:      past,
		Marks:        readMarks{s.store, past},
		Clients:      s.store,
		Commands:     s.store,
		Sources:      attachedTables{s.store},
		Inbox:        s.inbox,
		Messages:     s.store,
		Checks:       append(checksOf(s.store, s.listener, s.hazards), s.hazards.checks()...),
		Collectors:   []prometheus.Collector{feedCollector{s.listener, s.store, s.inbox != nil}, s.hazards, buildInfo(s.cfg.Version)},
		Log:          s.cfg.Log,
		Version:      s.cfg.Version,
		Name:         nameOf(s.cfg.HTTP),
		Describe:     func(info *httpapi.ServerInfo) { info.Leads = s.listener.Stats().Leader },
		Samples:      s.cfg.Samples,
		NoMetrics:    s.cfg.Authenticate != nil && !s.cfg.PublicMetrics,
	}
	if s.verifier != nil {
		deps.Verifier = s.verifier
	}
	if s.tracer != nil {
		deps.Observe = s.tracer.request
	}
	if s.core != nil {
		deps.Checks = append(deps.Checks, s.core.check())
		deps.Collectors = append(deps.Collectors, s.core)
		deps.Fleet = s.core
	}
	deps.SDK = web.Handler(s.cfg.Authenticate != nil)
	if !s.cfg.NoPages {
		deps.Pages = deps.SDK
	}
	return deps
}

// readMarks keeps the marks in the store and counts what is unread in the history.
type readMarks struct {
	*store.Store
	past *history.Reader
}

func (m readMarks) Unread(ctx context.Context, reader string, f taskfeed.Filter, through taskfeed.Cursor) (taskfeed.Unread, error) {
	return m.past.Unread(ctx, reader, f, through)
}

// errStarting refuses what needs the database before Run has prepared it.
var errStarting = &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "the server is starting; try again in a moment"}

func (s *Server) unavailable() error {
	if s.prepared.Load() {
		return nil
	}
	return errStarting
}

// Handler returns the handler of every URL of the server, for a program that listens
// itself. Below a path of its own it takes [http.StripPrefix]. Until Run has prepared the
// database, what needs it is 503.
//
// The program's http.Server should have a ReadHeaderTimeout and ConnContext, and no
// WriteTimeout or ReadTimeout below those of Config.HTTP.
func (s *Server) Handler() http.Handler { return s.http.Handler() }

// ConnContext is for the field of this name of the program's http.Server: it bounds the
// memory in the kernel of a client that does not read, and how long a stream's vanished
// client stays unnoticed.
func (s *Server) ConnContext(ctx context.Context, conn net.Conn) context.Context {
	return s.http.ConnContext(ctx, conn)
}

// Run brings the schema up to date and serves until ctx is done. It then closes all
// connections, spread over Config.HTTP.Drain, and returns nil. It returns an error when
// the database cannot be used or one of its parts fails.
//
// With an address or a listener in Config.HTTP it listens itself. A program that serves
// Handler runs it beside its own http.Server and cancels ctx before it shuts that down.
func (s *Server) Run(ctx context.Context) error {
	if s.ran.Swap(true) {
		return errors.New("server: Run was called before: it is called once; make another server with New")
	}
	defer s.store.Close()
	if err := s.prepareSchema(ctx); err != nil {
		return err
	}
	var checks sync.WaitGroup
	defer checks.Wait()
	checks.Go(func() { checkListen(ctx, s.store, s.cfg.Log) }) // a pooler that does not answer must not delay the start
	s.hazards.once(ctx)                                        // before anybody is served
	lastCommand, err := s.first(ctx, s.store.LastCommand)      // earlier commands are for connections that no longer exist
	if err != nil {
		return err
	}
	erasures, err := s.first(ctx, s.store.Erasures) // nothing that was erased before is in memory
	if err != nil {
		return err
	}
	parts := []service.Service{
		{Name: "listener", Run: s.listener.Run},
		{Name: "commands", Run: func(ctx context.Context) error {
			return obeyCommands(ctx, s.looks, lastCommand, s.http.Obey, s.cfg.Log)
		}},
		{Name: "erasures", Run: func(ctx context.Context) error {
			return watchErasures(ctx, s.looks, erasures, s.hub.ForgetFrames)
		}},
		{Name: "marks", Run: func(ctx context.Context) error { return s.store.WatchMarks(ctx, s.http.MarksMoved) }},
		{Name: "hazards", Run: s.hazards.Run},
	}
	if s.verifier != nil {
		parts = append(parts, service.Service{Name: "tokens", Run: s.verifier.Run})
	}
	if s.inbox != nil {
		parts = append(parts, service.Service{Name: "inbox", Run: s.inbox.Run})
	}
	parts = append(parts, s.core.parts()...)
	s.prepared.Store(true)
	return service.RunServer(ctx, s.http.Run, parts...)
}

// DisconnectUser has every server close the connections of a user within about a second,
// for example because the user has signed out everywhere. Clients that were closed so do
// not come back by themselves.
func (s *Server) DisconnectUser(ctx context.Context, userID string) error {
	return s.store.Command(ctx, taskfeed.CommandDisconnectUser, userID)
}
