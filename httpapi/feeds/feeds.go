package feeds

import (
	"crypto/rand"
	"log/slog"
	"math"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/inbox"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/internal/wsframe"
)

// Config says how connections behave. All fields are set; where a field says so,
// zero is off.
type Config struct {
	TrustedProxies []netip.Prefix // whose X-Forwarded-For counts

	MaxMessageBytes     int // of one message of a client
	MessagesPerMinute   int // of one client; 0 is off
	HandshakesPerMinute int // of one address; 0 is off
	HandshakesPerSecond int // of all clients; 0 is off
	SendBufferBytes     int // of a socket in the kernel; 0 leaves it to the system

	PingInterval    time.Duration // 0 is off
	PongTimeout     time.Duration
	CommentInterval time.Duration // silence of a stream before a comment
	WriteTimeout    time.Duration // for one write of at most 16 KiB
	CloseTimeout    time.Duration // for a closing handshake
}

// Deps is what feeds are served with. All but Unavailable, Marks and Clients are needed.
type Deps struct {
	Hub     *hub.Hub
	Guard   *request.Guard
	Origins *request.Origins
	// Unavailable, when set, says why no feed can be served at present. It is asked
	// at each handshake and must not block.
	Unavailable func() error
	// Marks, when set, keeps read marks. Without it there are none.
	Marks ReadMarks
	// Clients, when set, keeps the cursors of named clients. Without it clients have no
	// names.
	Clients Clients
	// Inbox takes messages of clients; nil refuses them.
	Inbox *inbox.Inbox
	Log   *slog.Logger
}

// Feeds serves feeds by WebSocket and by server-sent events. Its methods are safe for
// concurrent use.
type Feeds struct {
	deps     Deps
	cfg      Config
	log      *slog.Logger
	began    time.Time // zero of the clock of connections
	metrics  *metrics
	registry *registry
	upgrader websocket.Upgrader
	chunks   sync.Pool
	turns    turns // of sockets
	marks    *marks
	clients  *clientMarks

	handshakes *request.Limiter[netip.Prefix]
	admission  *request.Rate
	refused    atomic.Int64 // sockets open only to be closed
	warned     atomic.Int64 // when feedFailed logged last, on the clock of connections
}

// New returns feeds without connections. Sweep must run while they are served.
func New(deps Deps, cfg Config) *Feeds {
	return &Feeds{
		deps:       deps,
		cfg:        cfg,
		log:        deps.Log,
		began:      time.Now(),
		metrics:    newMetrics(),
		registry:   newRegistry(strings.ToLower(rand.Text()[:8])),
		upgrader:   newUpgrader(cfg, new(sync.Pool)),
		chunks:     sync.Pool{New: newChunk},
		turns:      turns{most: runtime.GOMAXPROCS(0)},
		marks:      newMarks(),
		clients:    newClientMarks(),
		handshakes: request.NewLimiter[netip.Prefix](cfg.HandshakesPerMinute),
		admission:  request.NewRate(cfg.HandshakesPerSecond),
	}
}

// now is the clock of connections: the time since the feeds were made.
func (f *Feeds) now() time.Duration { return time.Since(f.began) }

// ServerID is what the ids of this server's connections begin with.
func (f *Feeds) ServerID() string { return f.registry.prefix }

// IsOwn reports whether the id is of the form that this server gives to connections.
func (f *Feeds) IsOwn(connectionID string) bool {
	_, ok := f.registry.number(connectionID)
	return ok
}

// IsOpen reports whether a connection with this id is open on this server.
func (f *Feeds) IsOpen(connectionID string) bool { return f.registry.find(connectionID) != nil }

// Connections returns at most limit connections in the order in which they were made,
// after the one with an id and of one user where these are not empty, and reports
// whether there are more. With ended, those that ended lately are among them.
func (f *Feeds) Connections(userID string, ended bool, after string, limit int) (page []Connection, more bool) {
	first, _ := f.registry.number(after)
	return f.registry.page(userID, ended, first, limit)
}

// Count returns how many connections there are of a user, where there is an id. With ended,
// those that ended lately are among them.
func (f *Feeds) Count(userID string, ended bool) int { return f.registry.count(userID, ended) }

// Disconnect closes a connection with 4011, after which its client does not come
// back, and reports whether there was one with this id.
func (f *Feeds) Disconnect(connectionID string) bool {
	m := f.registry.find(connectionID)
	if m == nil {
		return false
	}
	m.end(taskfeed.CloseDisconnected, reasonDisconnected)
	return true
}

// DisconnectUser closes all connections of a user like disconnect and returns how
// many there were.
func (f *Feeds) DisconnectUser(userID string) int {
	members := f.registry.ofUser(userID)
	for _, m := range members {
		m.end(taskfeed.CloseDisconnected, reasonDisconnected)
	}
	return len(members)
}

// Close refuses new connections from now on and returns how many are open. It is
// called once.
func (f *Feeds) Close() (open int) { return f.registry.close() }

// IsClosed reports whether close was called.
func (f *Feeds) IsClosed() bool { return f.registry.isClosed() }

// EndAll closes the open connections one after the other, spread over a time, so that
// their clients do not come back all at once.
func (f *Feeds) EndAll(spread time.Duration) { endEvenly(f.registry.all(), spread, reasonRestart) }

// Shed closes a share of the open connections, at least one where there are any, spread
// over a time, and returns how many. Their clients come back, best to another server.
func (f *Feeds) Shed(share float64, spread time.Duration) int {
	open := f.registry.all() // in no order
	open = open[:int(math.Ceil(share*float64(len(open))))]
	endEvenly(open, spread, reasonShed)
	return len(open)
}

func endEvenly(open []member, spread time.Duration, reason string) {
	start := time.Now()
	for i, m := range open {
		at := spread / time.Duration(len(open)) * time.Duration(i)
		time.Sleep(at - time.Since(start))
		m.end(wsframe.CloseRestart, reason)
	}
}

// Idle is closed when close was called and no connection has a goroutine any more.
func (f *Feeds) Idle() <-chan struct{} { return f.registry.idle }

// putChunk gives a chunk back for reuse.
func (f *Feeds) putChunk(b *chunk) {
	b.buf, b.ends, b.midFrame = b.buf[:0], b.ends[:0], false
	f.chunks.Put(b)
}

// feedFailed notes that the log could not be read for a connection. An outage affects
// all of them, so it is logged once in ten seconds.
func (f *Feeds) feedFailed(connectionID string, err error) {
	f.metrics.feedErrors.Inc()
	last, now := f.warned.Load(), f.now()
	if (last == 0 || now-time.Duration(last) > 10*time.Second) && f.warned.CompareAndSwap(last, int64(now)) {
		f.log.Warn("event log not readable, trying again", "connection_id", connectionID, "error", err)
	}
}
