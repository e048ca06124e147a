// Package listener keeps one server at a time moving changes into the log and
// all servers reading it.
//
// A listener does everything over one session with the database. The server whose
// session holds the leader lock is the sequencer: it moves changes into the log
// and publishes what it moved (leader.go). The others read the log, publish the
// same events, and keep trying to lead (follower.go). The leader sleeps behind a
// doorbell while there is nothing to do (doorbell.go).
//
// Correctness depends on the tables alone. A NOTIFY that is forged, lost or
// switched off changes only how soon the listener looks. A lost session costs
// leadership and time, never an event: a change that was not moved is still in its
// table, and the log is read from where this server stopped publishing.
package listener

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
)

// Listener is one server's part in sequencing and following. Run may be called
// once; Stats and Ready are safe for concurrent use.
type Listener struct {
	cfg       Config
	connect   func(context.Context) (Session, error)
	quickRing time.Duration // for the doorbell
	stats     stats
	failure   atomic.Pointer[string] // what stops the feed; nil while it works
	locks     lockWatch

	// Owned by Run.
	publisher
	maintained time.Time
	toldStalls time.Time // when all stalled tasks had been told
	engine     engine
	database   string // the name of the last session's; "" when it is not known
}

// New returns a listener that opens its sessions with connect.
func New(connect func(context.Context) (Session, error), feed Feed, cfg Config) (*Listener, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	l := &Listener{cfg: cfg, connect: connect, quickRing: quickRing}
	l.publisher = publisher{feed: feed, progress: l.stats.progress}
	return l, nil
}

// Run leads or follows until ctx is done, and returns nil then. Any failure before
// that is logged, shown by Ready, and followed by another try.
func (l *Listener) Run(ctx context.Context) error {
	retry := newBackoff()
	for ctx.Err() == nil {
		began := time.Now()
		err := l.serve(ctx)
		l.stats.leader.Store(false)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errYielded) {
			continue
		}
		l.failed(err)
		if time.Since(began) > 2*maxBackoff {
			retry.Reset() // the session worked for a while: try again at once
			continue
		}
		pause.For(ctx, retry.Next())
	}
	return nil
}

// serve uses one session until it fails.
func (l *Listener) serve(ctx context.Context) error {
	s, err := l.connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	s.Watch(l.progress)
	l.recognize(ctx, s)
	if err := l.follow(ctx, s); err != nil {
		return err
	}
	return l.lead(ctx, s)
}

// recognize has the feed forget the log, unless the session is in the same database as
// the last one.
func (l *Listener) recognize(ctx context.Context, s interface {
	Name(context.Context) (string, error)
}) {
	name, err := s.Name(ctx)
	if err != nil {
		name = "" // if the session has failed, its next statement will say so
	}
	if name == "" || name != l.database {
		l.feed.ForgetLog()
	}
	l.database = name
}

// Bounds of the time between two tries. The first try comes at once.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = time.Second
)

func newBackoff() *pause.Backoff { return &pause.Backoff{Least: minBackoff, Most: maxBackoff} }
