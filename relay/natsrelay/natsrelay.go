// Package natsrelay carries messages of package relay over NATS.
//
// It uses core NATS: messages are not stored, and may be lost. Questions and answers have
// a connection of their own, so that pages of the log do not delay what is live.
package natsrelay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/relay"
)

// Config says how to connect. URLs is needed.
type Config struct {
	// URLs are the servers, separated by commas, as nats://a:4222,tls://b:4222. The first
	// that answers is used, so that the nearest can be the first.
	URLs string
	// CredentialsFile has the credentials of a NATS user (.creds), or the seed of a key
	// (nkey). It is read again for each connection.
	CredentialsFile string
	// User and Password are used without credentials.
	User, Password string
	// CAFile has the certificates that sign those of the servers. Default: the system's.
	CAFile string
	// CertFile and KeyFile are the certificate and key to show to the servers.
	CertFile, KeyFile string
	// Name is what the servers show of the connection.
	Name string
	// Logger. Default: slog.Default().
	Logger *slog.Logger
}

// Check returns an error that names what is wrong with the URLs, without their secrets.
func Check(urls string) error {
	for part := range strings.SplitSeq(urls, ",") {
		u, err := url.Parse(strings.TrimSpace(part))
		if err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls" {
			return errors.New("must be URLs of NATS servers separated by commas, such as nats://a:4222,nats://b:4222; tls:// encrypts")
		}
	}
	return nil
}

const (
	pendingBytes = 32 << 20 // messages that wait for the receiver
	pingInterval = 2 * time.Second
	writeTimeout = 5 * time.Second
	queue        = "core" // the cores share the questions
	questions    = "questions"
)

// Transport is a connection to NATS. It reconnects by itself.
type Transport struct {
	live, asks *nats.Conn
	log        *slog.Logger
	flushed    atomic.Uint64 // how often the connection had been made again at the last Flush
	stats      Stats
	cfg        Config
	pending    pending

	mu   sync.Mutex
	told map[string]time.Time // when a fault was logged
}

var (
	_ relay.Transport = (*Transport)(nil)
	_ relay.Assembly  = (*Transport)(nil)
)

// Stats is what a transport counts.
type Stats struct {
	Reconnects    atomic.Uint64
	SlowConsumers atomic.Uint64 // times that messages were dropped because they came too fast
	Errors        atomic.Uint64 // others that the servers report, such as missing permissions
}

// Connect connects, and tries again until it succeeds or ctx is done. The caller closes
// the transport.
func Connect(ctx context.Context, cfg Config) (*Transport, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	t := newTransport(cfg)
	retry := &pause.Backoff{Least: 100 * time.Millisecond, Most: 2 * time.Second}
	told := ""
	for {
		err := t.connect()
		if err == nil {
			return t, nil
		}
		if why := cfg.explain(err); why != told {
			told = why
			cfg.Logger.Warn("cannot connect to the engine; trying again", "why", why)
		}
		if !pause.For(ctx, retry.Next()) {
			return nil, errors.New("connect to the engine: " + cfg.explain(err))
		}
	}
}

func newTransport(cfg Config) *Transport {
	return &Transport{log: cfg.Logger, cfg: cfg, told: make(map[string]time.Time)}
}

func (t *Transport) connect() (err error) {
	if t.live, err = nats.Connect(t.cfg.URLs, t.options("live")...); err != nil {
		return err
	}
	if t.asks, err = nats.Connect(t.cfg.URLs, t.options(questions)...); err != nil {
		t.live.Close()
	}
	return err
}

func (t *Transport) options(what string) []nats.Option {
	cfg := t.cfg
	opts := []nats.Option{
		nats.Name(strings.TrimSpace(cfg.Name + " " + what)),
		nats.DontRandomize(),
		nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), // credentials may be renewed
		nats.CustomReconnectDelay(func(int) time.Duration { return 50*time.Millisecond + rand.N(450*time.Millisecond) }),
		nats.ReconnectBufSize(-1), // what cannot be sent is published again by the publisher
		nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(2),
		nats.FlusherTimeout(writeTimeout), // a blocked write keeps every call waiting
		nats.Timeout(5 * time.Second),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				t.log.Warn("connection to the engine lost", "of", what, "why", t.cfg.explain(err))
			}
			if what == questions {
				t.pending.fail(errLost)
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { t.tell("cannot connect to the engine again; trying again", err) }),
		nats.ReconnectHandler(func(c *nats.Conn) {
			t.stats.Reconnects.Add(1)
			t.log.Info("connected to the engine again", "of", what, "server", c.ConnectedServerName())
		}),
		nats.ErrorHandler(t.failed),
	}
	if cfg.CredentialsFile != "" {
		opts = append(opts, signIn(cfg.CredentialsFile))
	} else if cfg.User != "" {
		opts = append(opts, nats.UserInfo(cfg.User, cfg.Password))
	}
	if cfg.CAFile != "" {
		opts = append(opts, nats.RootCAs(cfg.CAFile))
	}
	if cfg.CertFile != "" {
		opts = append(opts, nats.ClientCert(cfg.CertFile, cfg.KeyFile))
	}
	return opts
}

// failed logs what goes wrong besides calls.
func (t *Transport) failed(_ *nats.Conn, _ *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrSlowConsumer) {
		if t.stats.SlowConsumers.Add(1)%1000 == 1 {
			t.log.Warn("messages of the engine were dropped: they come faster than this server places them; they are asked for later")
		}
		return
	}
	t.stats.Errors.Add(1)
	t.tell("the engine reports a fault", err)
}

// tell logs a fault, each at most once in ten seconds.
func (t *Transport) tell(what string, err error) {
	why := t.cfg.explain(err)
	t.mu.Lock()
	often := time.Since(t.told[what+why]) < 10*time.Second
	if !often {
		if len(t.told) > 100 {
			clear(t.told)
		}
		t.told[what+why] = time.Now()
	}
	t.mu.Unlock()
	if !often {
		t.log.Error(what, "why", why)
	}
}

// Close ends the connections.
func (t *Transport) Close() {
	t.live.Close()
	t.asks.Close()
}

// Stats returns what the transport has counted.
func (t *Transport) Stats() *Stats { return &t.stats }

// Up reports whether both connections are there.
func (t *Transport) Up() bool { return t.live.IsConnected() && t.asks.IsConnected() }

// Ping returns nil when the engine answers on both connections. It says nothing about
// what was published; Flush does.
func (t *Transport) Ping(ctx context.Context) error {
	return errors.Join(t.live.FlushWithContext(ctx), t.asks.FlushWithContext(ctx))
}

// RTT measures the way to the engine and back.
func (t *Transport) RTT() (time.Duration, error) { return t.live.RTT() }

// Publish implements relay.Transport.
func (t *Transport) Publish(subject string, message []byte) error {
	return t.live.Publish(subject, message)
}

// Subscribe implements relay.Transport.
func (t *Transport) Subscribe(subject string, handle func([]byte)) (stop func(), err error) {
	var mu sync.Mutex
	stopped := false
	sub, err := t.live.Subscribe(subject, func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			handle(m.Data)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	if err := sub.SetPendingLimits(-1, pendingBytes); err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	return func() {
		_ = sub.Unsubscribe() // the connection may be closed
		mu.Lock()
		defer mu.Unlock()
		stopped = true
	}, nil
}

// Request implements relay.Transport. It fails when the connection is lost meanwhile.
func (t *Transport) Request(ctx context.Context, subject string, question []byte) ([]byte, error) {
	ctx, done := t.pending.add(ctx)
	defer done()
	m, err := t.asks.RequestWithContext(ctx, subject, question)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return nil, cause
	}
	if err != nil {
		return nil, err
	}
	return m.Data, nil
}

// Answer implements relay.Transport.
func (t *Transport) Answer(subject string, answer func(context.Context, []byte) []byte) (stop func(), err error) {
	return t.serve(subject, queue, answer)
}

// Attend implements relay.Assembly.
func (t *Transport) Attend(subject string, answer func(context.Context, []byte) []byte) (stop func(), err error) {
	return t.serve(subject, "", answer)
}

// serve answers the questions of a subject, or a share of them with a queue.
func (t *Transport) serve(subject, queue string, answer func(context.Context, []byte) []byte) (stop func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	var calls sync.WaitGroup
	var mu sync.Mutex // no call begins after stop
	stopped := false
	sub, err := t.asks.QueueSubscribe(subject, queue, func(m *nats.Msg) { // without a queue it is Subscribe
		mu.Lock()
		defer mu.Unlock()
		if stopped {
			return
		}
		calls.Go(func() {
			said := answer(ctx, m.Data)
			if len(said) == 0 {
				return
			}
			if err := m.Respond(said); err != nil {
				t.log.Debug("an answer was not sent", "error", err) // it will be asked for again
			}
		})
	})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("answer on %s: %w", subject, err)
	}
	return func() {
		_ = sub.Unsubscribe() // the connection may be closed
		mu.Lock()
		stopped = true
		mu.Unlock()
		cancel()
		calls.Wait()
	}, nil
}

// Gather implements relay.Assembly.
func (t *Transport) Gather(ctx context.Context, subject string, question []byte, take func([]byte) bool) error {
	inbox := nats.NewInbox()
	sub, err := t.asks.SubscribeSync(inbox)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", inbox, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection may be closed
	if err := t.asks.PublishRequest(subject, inbox, question); err != nil {
		return err
	}
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil // the time is over, or nobody attends
		}
		if !take(m.Data) {
			return nil
		}
	}
}

var errLost = errors.New("the connection to the engine was lost")

// Flush implements relay.Transport.
func (t *Transport) Flush(ctx context.Context) error {
	if err := t.live.FlushWithContext(ctx); err != nil {
		return err
	}
	// The library counts before it sends on a new connection; its callbacks come later.
	if made := t.live.Stats().Reconnects; t.flushed.Swap(made) != made {
		return errLost
	}
	return nil
}

// MaxPayload implements relay.Transport.
func (t *Transport) MaxPayload() int { return int(t.live.MaxPayload()) }
