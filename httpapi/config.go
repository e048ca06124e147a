package httpapi

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/taskfeed/taskfeed/httpapi/feeds"
	"github.com/taskfeed/taskfeed/httpapi/request"
)

// off is what withDefaults makes of a negative duration or number: no limit.
const off = 0

// Config says how the server behaves. Zero means the default; where a field
// says so, a negative value means off.
type Config struct {
	// Addr is the TCP address to listen on when Listener is nil, as
	// "127.0.0.1:8080". Default none: the program serves Handler itself.
	Addr string
	// Listener, when set, is served instead of Addr. Run closes it.
	Listener net.Listener

	// AllowedOrigins lists origins whose pages may open a feed besides those of
	// the same host, each as "https://app.example.com" with a port unless it is
	// the scheme's own. "https://*.example.com" allows hosts of one label more;
	// apps have schemes of their own, such as "capacitor://localhost";
	// "moz-extension://*" allows any host of its scheme. Pages loaded from files send
	// "file://" or "null". The entry "*" allows any origin but null: then any web page
	// that obtains a token can use it.
	AllowedOrigins []string
	// TrustedProxies lists the networks whose X-Forwarded-For header is
	// believed. Default none: the peer's address is the client's.
	TrustedProxies []netip.Prefix

	// MaxMessageBytes is the most that one message of a client may hold; a
	// larger one closes with 1009. Default 64 KiB.
	MaxMessageBytes int
	// MessagesPerMinute is how many messages, control frames and empty
	// fragments a client may send; one more closes with 4029. Default 120,
	// negative is off.
	MessagesPerMinute int
	// SendBufferBytes is the size of a connection's send buffer in the kernel. It bounds
	// the memory of a slow client and how long a ping waits behind data.
	// Default 128 KiB; negative leaves it to the system.
	SendBufferBytes int
	// HandshakesPerMinute is how many upgrades one address may ask for; one
	// more is refused with 429. Default off, because behind a proxy that is not
	// among TrustedProxies every client has the same address.
	HandshakesPerMinute int

	// HandshakesPerSecond is how many connections to feeds all clients together may ask
	// for; one more is refused with 503 before anything is read for it. Default off.
	HandshakesPerSecond int

	// RequestsPerMinute is how many requests of the API one user may make, also
	// all at once; one more is refused with 429. Default 1200, negative is off.
	RequestsPerMinute int

	// AnswerBytes is how much memory the answers of the API may hold together until
	// their clients have read them; one user may have half of it, and less while
	// others ask, too. At least 32 MiB. Default 64 MiB.
	AnswerBytes int
	// ParallelRequests is how many requests of the API one user may have in progress
	// at the same time; one more is refused with 429. Default 64, negative is off.
	ParallelRequests int
	// AnswerTime is how long a client may take for an answer, however large: an
	// export is cut off then. Default 30 min.
	AnswerTime time.Duration
	// QueueTimeout is how long a request of the API waits while others hold all of
	// AnswerBytes. Default 3 s.
	QueueTimeout time.Duration
	// ReadTimeout is how long one read of Deps.History may take; it must see to
	// that itself, and gets a little more. Default 20 s.
	ReadTimeout time.Duration

	// PingInterval is how long after a ping the next one follows. Default 25 s,
	// negative is off: then dead peers are not found.
	PingInterval time.Duration
	// PongTimeout is how long a ping may stay unanswered before the socket is
	// closed with 4009. Default 10 s.
	PongTimeout time.Duration
	// CommentInterval is how long a stream of server-sent events may be silent
	// before a comment shows proxies and clients that it is alive. Default 15 s.
	CommentInterval time.Duration
	// WriteTimeout is how long the peer may take for one write of at most 16
	// KiB before the socket is closed with 4008, or the answer to a request cut
	// off. Default 5 s.
	WriteTimeout time.Duration
	// CloseTimeout is how long a closing handshake may take before the TCP
	// connection is cut. Default 5 s.
	CloseTimeout time.Duration
	// VerifyTimeout is how long the check of a token may take. Default 5 s.
	VerifyTimeout time.Duration

	// Drain is the time over which Run closes the sockets when it is told to
	// stop. Default 10 s, negative closes them all at once.
	Drain time.Duration
	// DrainDelay is how long the listener stays open after readiness has turned
	// 503, so that load balancers notice. Default none.
	DrainDelay time.Duration

	// ReadHeaderTimeout bounds the reading of a request's header. Default 5 s.
	ReadHeaderTimeout time.Duration
	// RequestTimeout bounds the reading of a whole request, and is how long a client
	// may take less of an answer than 32 KiB a second. Default 30 s.
	RequestTimeout time.Duration
	// IdleTimeout is how long an HTTP connection may be idle between requests. It must
	// be longer than that of proxies in front: a proxy that sends a request just as the
	// server closes the connection answers 502. Default 650 s, because the longest usual
	// one of proxies is 600 s.
	IdleTimeout time.Duration
	// MaxHeaderBytes bounds a request's header; a larger one gets 431. Default 32 KiB.
	MaxHeaderBytes int
	// MaxBodyBytes bounds a request's body; a larger one gets 413. Default 1 MiB.
	MaxBodyBytes int

	// CheckInterval is how old an answer of /readyz or /metrics may be. Default 1 s,
	// negative makes a new one for each request.
	CheckInterval time.Duration
	// MetricsUsers is how many users websocket_connections names. Default 1000,
	// negative is none.
	MetricsUsers int
}

// withDefaults returns c with its zero fields filled in and its negative ones
// turned to off.
func (c Config) withDefaults() Config {
	fill(&c.MaxMessageBytes, 64<<10)
	fill(&c.MessagesPerMinute, 120)
	fill(&c.SendBufferBytes, 128<<10)
	fill(&c.HandshakesPerMinute, -1)
	fill(&c.HandshakesPerSecond, -1)
	fill(&c.RequestsPerMinute, 1200)
	fill(&c.AnswerBytes, 64<<20)
	fill(&c.ParallelRequests, 64)
	fill(&c.AnswerTime, 30*time.Minute)
	fill(&c.QueueTimeout, 3*time.Second)
	fill(&c.ReadTimeout, 20*time.Second)
	fill(&c.PingInterval, 25*time.Second)
	fill(&c.PongTimeout, 10*time.Second)
	fill(&c.CommentInterval, 15*time.Second)
	fill(&c.WriteTimeout, 5*time.Second)
	fill(&c.CloseTimeout, 5*time.Second)
	fill(&c.VerifyTimeout, 5*time.Second)
	fill(&c.Drain, 10*time.Second)
	fill(&c.DrainDelay, -1)
	fill(&c.ReadHeaderTimeout, 5*time.Second)
	fill(&c.RequestTimeout, 30*time.Second)
	fill(&c.IdleTimeout, 650*time.Second)
	fill(&c.MaxHeaderBytes, 32<<10)
	fill(&c.MaxBodyBytes, 1<<20)
	fill(&c.CheckInterval, time.Second)
	fill(&c.MetricsUsers, 1000)
	return c
}

// feeds is the part of the configuration that concerns connections.
func (c *Config) feeds() feeds.Config {
	return feeds.Config{
		TrustedProxies:      c.TrustedProxies,
		MaxMessageBytes:     c.MaxMessageBytes,
		MessagesPerMinute:   c.MessagesPerMinute,
		HandshakesPerMinute: c.HandshakesPerMinute,
		HandshakesPerSecond: c.HandshakesPerSecond,
		SendBufferBytes:     c.SendBufferBytes,
		PingInterval:        c.PingInterval,
		PongTimeout:         c.PongTimeout,
		CommentInterval:     c.CommentInterval,
		WriteTimeout:        c.WriteTimeout,
		CloseTimeout:        c.CloseTimeout,
	}
}

// fill sets a zero field to its default and a negative one to off.
func fill[T int | time.Duration](field *T, byDefault T) {
	if *field == 0 {
		*field = byDefault
	}
	*field = max(*field, off)
}

// validate names every field that cannot be used. It expects withDefaults to
// have run, so a field that may not be off is refused here.
func (c Config) validate() error {
	var errs []error
	refuse := func(field, why string) {
		errs = append(errs, fmt.Errorf("httpapi config: %s %s", field, why))
	}
	for field, n := range map[string]int{
		"MaxMessageBytes": c.MaxMessageBytes, "MaxHeaderBytes": c.MaxHeaderBytes, "MaxBodyBytes": c.MaxBodyBytes,
	} {
		if n == off {
			refuse(field, "is negative: it cannot be off")
		}
	}
	for field, d := range map[string]time.Duration{
		"CommentInterval": c.CommentInterval, "PongTimeout": c.PongTimeout, "WriteTimeout": c.WriteTimeout, "CloseTimeout": c.CloseTimeout,
		"VerifyTimeout": c.VerifyTimeout, "ReadHeaderTimeout": c.ReadHeaderTimeout,
		"RequestTimeout": c.RequestTimeout, "IdleTimeout": c.IdleTimeout,
		"AnswerTime": c.AnswerTime, "QueueTimeout": c.QueueTimeout, "ReadTimeout": c.ReadTimeout,
	} {
		if d == off {
			refuse(field, "is negative: it cannot be off")
		}
	}
	if err := request.CheckOrigins(c.AllowedOrigins); err != nil {
		refuse("AllowedOrigins", "cannot be used: "+err.Error())
	}
	if c.AnswerBytes < request.LeastAnswers*request.AnswerBytes {
		refuse("AnswerBytes", fmt.Sprintf("is %d: it must be at least %d", c.AnswerBytes, request.LeastAnswers*request.AnswerBytes))
	}
	return errors.Join(errs...)
}
