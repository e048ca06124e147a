package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi"
	"github.com/taskfeed/taskfeed/httpapi/inbox"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/listener"
	"github.com/taskfeed/taskfeed/server"
	"github.com/taskfeed/taskfeed/store"
)

// config is the whole configuration, in the form of the packages.
type config struct {
	store     store.Config
	listener  listener.Config
	hub       hub.Config
	auth      auth.Config
	http      httpapi.Config
	inbox     inbox.Config
	relay     server.RelayConfig
	takes     string // on or off: messages of users
	log       logConfig
	host      string
	port      string
	secret    string
	migrate   bool
	pages     bool
	startWait time.Duration
	traces    trace.TracerProvider // nil: none
	dev       bool                 // private database, this machine only
}

type logConfig struct{ level, format string }

// databaseSettings are the settings of every command that uses the database.
func (c *config) databaseSettings() []*setting {
	return []*setting{
		{"DATABASE_URL", "the database, as postgres://user:password@host:5432/name", "", databaseURL(&c.store.URL)},
		{"TASKFEED_LISTEN_DATABASE_URL", "a direct URL of the same database for LISTEN and advisory locks, when DATABASE_URL goes through a pooler", "", databaseURL(&c.store.ListenURL)},
	}
}

// tokenSettings are the settings for making and checking tokens.
func (c *config) tokenSettings() []*setting {
	return []*setting{
		{"TASKFEED_JWT_SECRET", "secret of at least 32 bytes shared with the issuer of HS256/384/512 tokens", "", text(&c.secret)},
		{"TASKFEED_JWT_PUBLIC_KEY_FILE", "PEM files of public keys or certificates for RS/PS/ES/EdDSA tokens, separated by commas", "", list(&c.auth.PublicKeyFiles)},
		{"TASKFEED_JWKS_URL", "URL of the issuer's key set", "", text(&c.auth.JWKSURL)},
		{"TASKFEED_JWT_ALGORITHMS", "the only algorithms allowed, separated by commas (default: all that the keys support)", "", list(&c.auth.Algorithms)},
		{"TASKFEED_JWT_ISSUER", "required iss of tokens (default: any)", "", text(&c.auth.Issuer)},
		{"TASKFEED_JWT_AUDIENCE", "required aud of tokens (default: any)", "", text(&c.auth.Audience)},
		{"TASKFEED_JWT_TYPE", "required typ of tokens (default: any)", "", text(&c.auth.Type)},
		{"TASKFEED_JWT_ROLE_CLAIM", "claim that holds the role", "role", text(&c.auth.RoleClaim)},
		{"TASKFEED_JWT_FEEDS_CLAIM", "claim that lists the groups whose feeds the user sees too", "feeds", text(&c.auth.FeedsClaim)},
		{"TASKFEED_JWT_LEEWAY", "how far the issuer's clock may be off", "30s", duration(&c.auth.Leeway, time.Second, true)},
	}
}

func (c *config) httpSettings() []*setting {
	h := &c.http
	return []*setting{
		{"TASKFEED_ADDR", "address to listen on, without a port (serve: all; dev: 127.0.0.1)", c.host, host(&c.host)},
		{"PORT", "port to listen on", "8080", port(&c.port)},
		{"TASKFEED_ALLOWED_ORIGINS", "origins, besides the same host, whose pages may connect, separated by commas: https://app.example.com, https://*.example.com, capacitor://localhost", "", list(&h.AllowedOrigins)},
		{"TASKFEED_TRUSTED_PROXIES", "networks whose X-Forwarded-For is trusted, separated by commas", "", prefixes(&h.TrustedProxies)},
		{"TASKFEED_MAX_CONNECTIONS", "connections of all users together", "50000", number(&c.hub.MaxTotal, 1, true)},
		{"TASKFEED_MAX_CONNECTIONS_PER_USER", "connections of one user", "20", number(&c.hub.MaxPerUser, 1, true)},
		{"TASKFEED_MAX_MESSAGE_BYTES", "size of one inbound message", "65536", number(&h.MaxMessageBytes, 128, false)},
		{"TASKFEED_MESSAGES_PER_MINUTE", "inbound messages of one connection", "120", number(&h.MessagesPerMinute, 1, true)},
		{"TASKFEED_HANDSHAKES_PER_MINUTE", "handshakes of one address", "off", number(&h.HandshakesPerMinute, 1, true)},
		{"TASKFEED_HANDSHAKES_PER_SECOND", "connections to feeds that all clients together may make in a second", "off", number(&h.HandshakesPerSecond, 1, true)},
		{"TASKFEED_REQUESTS_PER_MINUTE", "requests of one user to the API", "1200", number(&h.RequestsPerMinute, 1, true)},
		{"TASKFEED_ANSWER_BYTES", "memory of all answers of the API that clients have not read yet, in bytes; one user may use half", "67108864", number(&h.AnswerBytes, 32<<20, false)},
		{"TASKFEED_PARALLEL_REQUESTS", "requests of one user to the API at the same time", "64", number(&h.ParallelRequests, 1, true)},
		{"TASKFEED_ANSWER_TIME", "time that a client may take for an export or another large answer", "30m", duration(&h.AnswerTime, time.Second, false)},
		{"TASKFEED_PING_INTERVAL", "time between pings; keep it below the idle time-out of proxies", "25s", duration(&h.PingInterval, time.Second, true)},
		{"TASKFEED_PONG_TIMEOUT", "time that a ping may stay unanswered", "10s", duration(&h.PongTimeout, time.Second, false)},
		{"TASKFEED_COMMENT_INTERVAL", "time after which a silent stream of server-sent events gets a comment; keep it below the idle time-out of proxies", "15s", duration(&h.CommentInterval, time.Second, false)},
		{"TASKFEED_WRITE_TIMEOUT", "time that a client may take to read what is written to it", "5s", duration(&h.WriteTimeout, 100*time.Millisecond, false)},
		{"TASKFEED_HEADER_TIMEOUT", "time that a request's header may take", "5s", duration(&h.ReadHeaderTimeout, 100*time.Millisecond, false)},
		{"TASKFEED_HTTP_IDLE_TIMEOUT", "time that a kept-alive HTTP connection may be idle; keep it above the idle time-out of load balancers", "650s", duration(&h.IdleTimeout, time.Second, false)},
		{"TASKFEED_DRAIN", "time over which connections are closed at shutdown", "10s", duration(&h.Drain, 0, false)},
		{"TASKFEED_DRAIN_DELAY", "time between becoming unready and closing the port", "0s", duration(&h.DrainDelay, 0, false)},
		{"TASKFEED_PAGES", "serve what people look at: the console, the documents at /docs, and the pages at / and /demo", "true", boolean(&c.pages)},
		{"TASKFEED_METRICS_USERS", "users that /metrics names", "1000", number(&h.MetricsUsers, 1, true)},
	}
}

func (c *config) serveSettings() []*setting {
	return slices.Concat(c.databaseSettings(), []*setting{
		{"TASKFEED_DB_MAX_CONNS", "connections of the database pools: two for checks, half of the others for feeds, the rest for the API; one more listens", "12", number(&c.store.MaxConns, 4, false)},
		{"TASKFEED_STALL_TIMEOUT", "how long a frozen server may keep the lead", "10s", duration(&c.store.StallTimeout, 3*time.Second, false)},
		{"TASKFEED_RECENT_LOG", "memory for recent events of all users, in bytes, from which clients that come back are served without a read of the database; 0 is off", "67108864", memory(&c.hub.RecentLogBytes, 2<<20)},
		{"TASKFEED_STALLED_AFTER", "after how long without a change a running task makes an event for its owners", "off", duration(&c.listener.StalledAfter, time.Second, true)},
		{"TASKFEED_RETENTION", "how long events are kept", "30d", duration(&c.listener.Retention, time.Minute, true)},
		{"TASKFEED_MIGRATE", "update the schema at start; with false an old schema is refused", "true", boolean(&c.migrate)},
		{"TASKFEED_START_WAIT", "how long to wait for the database at start", "60s", duration(&c.startWait, 0, false)},
	}, c.httpSettings(), c.inboxSettings(), c.engineSettings(), c.compressionSettings(), c.tokenSettings(), c.logSettings())
}

func (c *config) logSettings() []*setting {
	return []*setting{
		{"TASKFEED_LOG_LEVEL", "debug, info, warn or error", "info", choice(&c.log.level, "debug", "info", "warn", "error")},
		{"TASKFEED_LOG_FORMAT", "text, json, or auto: text on a terminal", "auto", choice(&c.log.format, "auto", "text", "json")},
	}
}

// Usual defaults of proxies, which cut idle connections, and of supervisors, which kill
// what does not stop.
const (
	usualIdleCut  = 60 * time.Second
	usualStopWait = 30 * time.Second
	latestPing    = usualIdleCut - 5*time.Second // the longest interval at which pings come in time
)

// warnings returns a line for each setting that is allowed and probably a mistake.
func (c *config) warnings() []string {
	var lines []string
	h := &c.http
	if h.PingInterval < 0 || h.PingInterval > latestPing {
		lines = append(lines, fmt.Sprintf("TASKFEED_PING_INTERVAL is %s: most proxies cut connections after %v of silence, so they cut idle clients; it should be at most %v",
			orOffText(h.PingInterval), usualIdleCut, latestPing))
	}
	if h.CommentInterval > latestPing {
		lines = append(lines, fmt.Sprintf("TASKFEED_COMMENT_INTERVAL is %v: most proxies cut connections after %v of silence, so they cut idle streams; it should be at most %v",
			h.CommentInterval, usualIdleCut, latestPing))
	}
	for _, line := range request.OriginWarnings(h.AllowedOrigins) {
		lines = append(lines, "TASKFEED_ALLOWED_ORIGINS: "+line)
	}
	delay, drain := max(0, h.DrainDelay), max(0, h.Drain)
	if stop := delay + drain + closeTime; stop > usualStopWait {
		lines = append(lines, fmt.Sprintf("a shutdown may take %v (TASKFEED_DRAIN_DELAY %v, TASKFEED_DRAIN %v and %v to close): let the supervisor wait longer than that before it kills the server; Kubernetes waits %v by default",
			stop, delay, drain, closeTime, usualStopWait))
	}
	return lines
}

// closeTime is how long the last connections may take to close, see
// httpapi.Config.CloseTimeout.
const closeTime = 5 * time.Second

func orOffText(d time.Duration) string {
	if d < 0 {
		return "off"
	}
	return d.String()
}

// server is the configuration as the server takes it.
func (c *config) server(logger *slog.Logger) server.Config {
	cfg := server.Config{
		Database:   c.store,
		KeepSchema: !c.migrate,
		StartWait:  orNegative(c.startWait),
		Listener:   c.listener,
		Hub:        c.hub,
		Tokens:     c.auth,
		HTTP:       c.http,
		Inbox:      c.inbox,
		Relay:      c.relay,
		NoPages:    !c.pages,
		Log:        logger,
		Version:    cli.Version(),
	}
	cfg.TracerProvider = c.traces
	if c.dev {
		cfg.Samples = samples{c.store.URL}
	}
	return cfg
}

// orNegative turns 0, which users set for nothing, into what means nothing to a package.
func orNegative(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

var errAnyOrigin = errors.New(`TASKFEED_ALLOWED_ORIGINS: "*" lets every web page connect; list the origins of your own pages`)

// finish completes and validates the configuration of serve and dev.
func (c *config) finish() error {
	c.auth.Secret = []byte(c.secret)
	c.http.Addr = net.JoinHostPort(c.host, c.port)
	var errs []error
	if c.store.URL == "" && !c.dev {
		errs = append(errs, errors.New("DATABASE_URL: it is missing; to try taskfeed with a private database: taskfeed dev"))
	}
	if err := request.CheckOrigins(c.http.AllowedOrigins); err != nil {
		errs = append(errs, fmt.Errorf("TASKFEED_ALLOWED_ORIGINS: %w", err))
	}
	errs = append(errs, c.finishInbox(), c.checkEngine())
	if slices.Contains(c.http.AllowedOrigins, "*") && !c.dev {
		errs = append(errs, errAnyOrigin)
	}
	if _, err := auth.New(c.auth); err != nil {
		errs = append(errs, inSettings(err))
	}
	return errors.Join(errs...)
}
