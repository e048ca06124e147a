package relay

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/pause"
)

// ReceiverConfig says how a receiver works. Zero means the default.
type ReceiverConfig struct {
	// Prefix begins the subjects. Default "taskfeed".
	Prefix string
	// BufferBytes bounds the messages that wait while a core is asked. What comes while
	// they are more is dropped, and asked for later. Default 32 MiB.
	BufferBytes int
	// Warm has the receiver begin with the events that a core has in memory, so that
	// clients that come to a new gateway find them there.
	Warm bool
	// Logger. Default: slog.Default().
	Logger *slog.Logger
}

const (
	beaconInterval = time.Second
	silentAfter    = 3 * beaconInterval  // then a receiver asks where the log ends
	staleAfter     = 10 * beaconInterval // then it says that it may be behind
)

// Receiver fills the hub of a gateway with what the cores publish. Run may be called
// once; Ready and Stats are safe for concurrent use.
type Receiver struct {
	client *Client
	cfg    ReceiverConfig
	inbox  inbox
	stats  atomic.Pointer[ReceiverStats]
	ready  atomic.Bool
	tired  atomic.Bool // it cannot keep up

	// Owned by Run.
	placer
	strain  strain
	began   bool
	refused map[string]time.Time // when a line about it was logged
}

// ReceiverStats is where a receiver stands.
type ReceiverStats struct {
	Head   taskfeed.Cursor
	Epoch  int64
	Beacon time.Time // when the last one came; zero before the first
	Sender string    // which core sent it
	Lag    time.Duration
	Wanted taskfeed.Cursor // above Head, events are missing that a core is asked for
}

// NewReceiver returns a receiver that fills feed, whose log is client.
func NewReceiver(client *Client, feed Feed, cfg ReceiverConfig) *Receiver {
	if cfg.BufferBytes == 0 {
		cfg.BufferBytes = 32 << 20
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	client.mu.Lock()
	client.forked = feed.ForgetLog
	client.mu.Unlock()
	r := &Receiver{client: client, cfg: cfg, placer: placer{feed: feed, client: client}, refused: make(map[string]time.Time)}
	r.inbox = inbox{limit: cfg.BufferBytes, ready: make(chan struct{}, 1), dropped: &client.counts.Dropped}
	return r
}

// Run receives until ctx is done, and returns nil then.
func (r *Receiver) Run(ctx context.Context) error {
	stop, err := r.client.transport.Subscribe(prefixOf(r.cfg.Prefix)+subjectLog, r.inbox.put)
	if err != nil {
		return err
	}
	defer stop()
	r.placer.heard = time.Now() // no beacon can have come
	retry := &pause.Backoff{Least: 20 * time.Millisecond, Most: time.Second}
	looked, patience := time.Time{}, leastPatience
	for ctx.Err() == nil {
		err := r.patiently(ctx, &patience, &looked)
		r.strained(time.Now(), err)
		r.note()
		rest := beaconInterval
		switch {
		case err != nil && ctx.Err() == nil:
			r.complain("cannot ask a core server; trying again", err)
			rest = retry.Next()
		case r.lacks():
			continue
		default:
			retry.Reset()
		}
		r.rest(ctx, rest, err != nil)
	}
	return nil
}

// leastPatience is how long a question may take at first. A core that does not answer may
// be cut off while another one is not.
const leastPatience = 2 * time.Second

// patiently works with a bound on the time for a question. The bound is at least twice of
// what the last answer took, and grows while there is none.
func (r *Receiver) patiently(ctx context.Context, patience *time.Duration, looked *time.Time) error {
	limited, cancel := context.WithTimeout(ctx, *patience)
	defer cancel()
	began := time.Now()
	err := r.work(limited, looked)
	if err != nil {
		*patience = min(2**patience, max(r.client.timeout, leastPatience))
	} else {
		*patience = max(2*time.Since(began), leastPatience)
	}
	return err
}

// work places what has come, and asks once if something is missing.
func (r *Receiver) work(ctx context.Context, looked *time.Time) error {
	if !r.began {
		if err := r.begin(ctx, r.cfg.Warm); err != nil {
			return err
		}
		r.began = true
	}
	for message, came := r.inbox.take(); message != nil; message, came = r.inbox.take() {
		if err := r.hear(message, time.Now()); err != nil {
			r.complain("message refused", err)
		}
		if r.lacks() {
			r.strain.heard(r.wanted, came)
		}
		r.strained(came, nil)
	}
	if now := time.Now(); now.Sub(r.heard) > silentAfter && now.Sub(*looked) >= beaconInterval {
		*looked = now
		if _, err := r.look(ctx); err != nil {
			return err
		}
	}
	if !r.lacks() {
		r.ready.Store(true)
		return nil
	}
	return r.fill(ctx)
}

// strained finds out whether the gateway keeps up. waiting is when the message came that
// was worked on, and err why a core could not be asked: then others are no better off.
func (r *Receiver) strained(waiting time.Time, err error) {
	r.strain.placed(r.head, r.made)
	switch {
	case !r.ready.Load():
		return
	case errors.Is(err, errBehind):
		r.strain.owed, r.strain.found = nil, 0
	case err != nil:
		r.strain.found = 0
	default:
		r.strain.sample(time.Now(), waiting)
	}
	r.tired.Store(r.strain.overloaded())
}

// rest waits until something comes or d is over. After a failure what comes does not
// count: it would be asked for too soon.
func (r *Receiver) rest(ctx context.Context, d time.Duration, failed bool) {
	if failed {
		pause.For(ctx, d)
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-r.inbox.ready:
	case <-timer.C:
	}
}

// complain logs a failure, each at most once in ten seconds.
func (r *Receiver) complain(what string, err error) {
	if last := r.refused[err.Error()]; time.Since(last) < 10*time.Second {
		return
	}
	if len(r.refused) > 100 {
		clear(r.refused)
	}
	r.refused[err.Error()] = time.Now()
	r.cfg.Logger.Warn(what, "error", err)
}

func (r *Receiver) note() {
	r.stats.Store(&ReceiverStats{Head: r.placer.head, Epoch: r.client.Lineage().Epoch, Beacon: r.placer.heard, Sender: r.sender, Lag: r.lag, Wanted: r.wanted})
}

// Stats returns where the receiver stands.
func (r *Receiver) Stats() ReceiverStats {
	if s := r.stats.Load(); s != nil {
		return *s
	}
	return ReceiverStats{}
}

var errNotYet = unavailable("this gateway has not reached the log yet: no core server has answered")

// Ready returns nil once the hub has all events of the log that were known when the
// receiver began, and an error with a message for callers until then, and while another
// log is published under the same prefix.
func (r *Receiver) Ready() error {
	switch {
	case r.client.clashes(staleAfter):
		return errOtherLog
	case !r.ready.Load():
		return errNotYet
	}
	return nil
}

// Overloaded reports whether the gateway cannot keep up: for three seconds in a row it was
// more than five behind and did not catch up.
func (r *Receiver) Overloaded() bool { return r.tired.Load() }

// Fresh returns an error while the gateway may be behind: it hears nothing, or cannot keep
// up.
func (r *Receiver) Fresh() error {
	if r.Overloaded() {
		return unavailable("this gateway cannot keep up with the log: events come late, and it closes a part of its connections each second")
	}
	if s := r.Stats(); time.Since(s.Beacon) > staleAfter {
		return unavailable("nothing is heard from the core servers: events may come late")
	}
	return nil
}

// letter is a message and when it came.
type letter struct {
	message []byte
	came    time.Time
}

// inbox holds messages until they are placed.
type inbox struct {
	limit   int
	ready   chan struct{} // has an element when there may be messages
	dropped *atomic.Uint64

	mu    sync.Mutex
	queue []letter
	bytes int
}

func (b *inbox) put(message []byte) {
	b.mu.Lock()
	full := b.bytes+len(message) > b.limit
	if !full {
		b.queue = append(b.queue, letter{message, time.Now()})
		b.bytes += len(message)
	}
	b.mu.Unlock()
	if full {
		b.dropped.Add(1)
		return
	}
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// take returns the oldest message and when it came, nil when there is none.
func (b *inbox) take() (message []byte, came time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		b.queue = nil
		return nil, time.Time{}
	}
	first := b.queue[0]
	b.queue[0] = letter{}
	b.queue = b.queue[1:]
	b.bytes -= len(first.message)
	return first.message, first.came
}
