package server

import (
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi"
	"github.com/taskfeed/taskfeed/httpapi/inbox"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/internal/logs"
	"github.com/taskfeed/taskfeed/listener"
	"github.com/taskfeed/taskfeed/relay/natsrelay"
	"github.com/taskfeed/taskfeed/store"
)

// Config says what a server works with. A URL of the database is needed, and either
// Authenticate or keys in Tokens; the zero value of every other field is its default.
type Config struct {
	// Database is where tasks and events are. URL is required. The server's role owns
	// the schema taskfeed, or may create it.
	Database store.Config
	// Migrations are applied at the start of Run, and an old schema is refused when
	// KeepSchema is set. Servers of the version before go on with the new schema.
	KeepSchema bool
	// StartWait is how long Run waits for a database that cannot be reached. Default 60
	// s, negative does not wait.
	StartWait time.Duration
	// Listener says, among other things, how long events are kept.
	Listener listener.Config
	// Hub has the limits of connections and of memory. Hub.MaxReplays is by default what
	// the pool of Database allows.
	Hub hub.Config

	// Tokens has the keys of the JWTs that callers show, when Authenticate is nil.
	Tokens auth.Config
	// Authenticate, when set, says who the caller of a request is, in place of a token. It
	// is called concurrently, once for each request and each new connection, and must
	// return within HTTP.VerifyTimeout, when the request's context ends. An error with a
	// code is the answer: [taskfeed.CodeBadToken] is 401, CodeForbidden 403,
	// CodeUnavailable 503. Any other error is 500 and goes to the log.
	//
	// A connection lasts until Principal.ExpiresAt, and an hour when that is zero. Its
	// client then connects again, and Authenticate decides anew.
	//
	// The console then asks for no token. It shows the tasks of its user, and everything
	// where Principal.Role is [RoleAdmin].
	//
	// Cookies are sent for pages of any site. The server accepts connections of pages of
	// the same host and of HTTP.AllowedOrigins, so "*" is refused there.
	Authenticate func(*http.Request) (Principal, error)

	// Inbox, where it has topics, makes the server take messages of users, which the app
	// receives with taskfeed.receive.
	Inbox inbox.Config

	// HTTP has the limits and times of requests. With Addr or Listener, Run listens;
	// without, the program serves Handler. HTTP.ReadTimeout is that of Database.
	HTTP httpapi.Config
	// Relay names the engine over which gateways get the log. Without there are none.
	Relay RelayConfig
	// PublicMetrics serves /metrics beside Authenticate, to everybody who reaches the
	// handler: it names users. Admins have the same at /v1/metrics in any case. Without
	// Authenticate /metrics is there, and the proxy keeps it from the public.
	PublicMetrics bool
	// NoPages leaves out what people look at: the console, the documents at /docs, and
	// the pages at / and /demo. With Authenticate there is no /demo, which needs a token.
	NoPages bool

	// TracerProvider, when set, gets spans of requests, moves and replays. A request is in
	// the trace of its header traceparent.
	TracerProvider trace.TracerProvider

	// Log is where the server logs, without tokens. Default: slog.Default().
	Log *slog.Logger
	// Version is what /healthz and /metrics show. Default: the version of the module
	// taskfeed in the build information of the program.
	Version string
	// Samples, when set, lets whoever is authenticated change sample tasks of their own at
	// /dev/sample. It is for development only.
	Samples httpapi.Samples
}

func (c Config) withDefaults() Config {
	if c.StartWait == 0 {
		c.StartWait = 60 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	c.Log = slog.New(logs.Guard(c.Log.Handler()))
	for _, log := range []**slog.Logger{&c.Database.Logger, &c.Listener.Logger, &c.Tokens.Logger} {
		if *log == nil {
			*log = c.Log
		}
	}
	if c.Hub.MaxReplays == 0 {
		c.Hub.MaxReplays = c.Database.FeedConns()
	}
	// The API waits for a read as long as the store allows it, and a little longer.
	if c.Database.ReadTimeout == 0 {
		c.Database.ReadTimeout = store.DefaultReadTimeout
	}
	c.HTTP.ReadTimeout = c.Database.ReadTimeout
	if c.Version == "" {
		c.Version = moduleVersion()
	}
	return c
}

func (c Config) validate() error {
	if t := c.Tokens; c.Authenticate == nil && len(t.Secret) == 0 && len(t.PublicKeyFiles) == 0 && t.JWKSURL == "" {
		return errors.New("server config: nobody can be known: set Authenticate, or one of Secret, PublicKeyFiles and JWKSURL in Tokens")
	}
	if c.Database.URL == "" {
		return errors.New("server config: Database.URL is missing")
	}
	if c.Authenticate != nil && slices.Contains(c.HTTP.AllowedOrigins, "*") {
		return errors.New(`server config: HTTP.AllowedOrigins has "*" beside Authenticate: then every web page could read the feed of whoever visits it; list the origins of your own pages`)
	}
	if urls := c.Relay.Engine.URLs; urls != "" {
		if err := natsrelay.Check(urls); err != nil {
			return errors.New("server config: Relay.Engine.URLs " + err.Error())
		}
	}
	return nil
}

// module is what build information calls this module.
const module = "github.com/taskfeed/taskfeed"

// moduleVersion returns the version of taskfeed that this program was built with, empty
// when it is not known.
func moduleVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == module {
			return m.Version
		}
	}
	return ""
}
