package inbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/request"
)

// Store keeps messages until the app receives them; *store.Store is one.
type Store interface {
	// AddMessages stores messages durably and returns what became of each. It returns
	// CodeBadRequest when one of them cannot be stored; then none is.
	AddMessages(ctx context.Context, messages []taskfeed.Message, limits taskfeed.InboxLimits) ([]taskfeed.Stored, error)
	// WaitingMessages returns how many messages wait for the app.
	WaitingMessages(ctx context.Context) (int, error)
}

// Config says which messages are taken. Zero means the default.
type Config struct {
	// Topics are those that are taken. At least one is needed.
	Topics []string
	// PerMinute is how many messages one user may send, also all at once. Default 120,
	// negative is off.
	PerMinute int
	// PerUser is how many messages of one user may wait for the app. Default 100.
	PerUser int
	// Total is about how many messages of all users may wait: each server counts once a
	// second. Default 100,000.
	Total int
}

func (c Config) withDefaults() Config {
	for field, byDefault := range map[*int]int{&c.PerMinute: 120, &c.PerUser: 100, &c.Total: 100_000} {
		if *field == 0 {
			*field = byDefault
		}
	}
	c.PerMinute = max(c.PerMinute, 0)
	return c
}

func (c Config) validate() error {
	errs := []error{CheckTopics(c.Topics)}
	if len(c.Topics) == 0 {
		errs = append(errs, errors.New("there are none"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("inbox config: Topics: %w", err)
	}
	if c.PerUser < 0 || c.Total < 0 {
		return errors.New("inbox config: PerUser or Total is negative")
	}
	return nil
}

// What waits to be stored is bounded: beyond it messages are refused for now.
const (
	maxQueued      = 10_000
	maxQueuedBytes = 16 << 20
	maxBatch       = 500
)

const (
	storeTimeout = 5 * time.Second
	countEvery   = time.Second
	retryLater   = 2 * time.Second // after which a client sends again what could not be stored
)

// queued is a message that waits to be stored.
type queued struct {
	taskfeed.Message
	answer func(Answer)
}

// Inbox takes messages. Its methods are safe for concurrent use and work on a nil Inbox,
// which refuses every message. Make one with New; it stores while Run runs.
type Inbox struct {
	store    Store
	cfg      Config
	log      *slog.Logger
	topics   map[string]bool
	rates    *request.Limiter[string]
	began    time.Time     // zero of the limiter's clock
	arrived  chan struct{} // there is something in the queue
	outcomes *prometheus.CounterVec
	batches  prometheus.Counter

	mu     sync.Mutex
	queue  []queued
	bytes  int // of data in the queue
	closed bool

	// Run's own.
	waiting int       // messages in the store, as far as this server knows
	counted time.Time // when that was read
	warned  time.Time
}

// New returns an inbox.
func New(store Store, cfg Config, log *slog.Logger) (*Inbox, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	in := &Inbox{store: store, cfg: cfg, log: log, topics: make(map[string]bool), began: time.Now(), arrived: make(chan struct{}, 1),
		rates: request.NewLimiter[string](cfg.PerMinute),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "taskfeed_inbox_messages_total",
			Help: "Messages of users, by what became of them: stored, or the code of the refusal."}, []string{"outcome"}),
		batches: prometheus.NewCounter(prometheus.CounterOpts{Name: "taskfeed_inbox_batches_total",
			Help: "Statements that stored messages of users."}),
	}
	for _, t := range cfg.Topics {
		in.topics[t] = true
	}
	return in, nil
}

// Collectors returns what is shown at /metrics.
func (in *Inbox) Collectors() []prometheus.Collector {
	if in == nil {
		return nil
	}
	return []prometheus.Collector{in.outcomes, in.batches}
}

// Take takes a message of a user, who sees the feeds besides their own. It calls answer
// once, before it returns or from another goroutine later; answer must not block. Take
// does not block either, and keeps raw until then.
func (in *Inbox) Take(userID string, feeds []string, raw []byte, answer func(Answer)) {
	m, err := parse(raw)
	if in == nil {
		answer(Answer{Ref: m.Ref, Err: errOff})
		return
	}
	m.UserID, m.Feeds = userID, feeds
	done := func(a Answer) {
		a.Ref = m.Ref
		outcome := "stored"
		if a.Err != nil {
			outcome = string(a.Err.Code)
		}
		in.outcomes.WithLabelValues(outcome).Inc()
		answer(a)
	}
	wait := in.rates.Take(time.Since(in.began), userID)
	switch {
	case wait > 0:
		done(Answer{Err: errRate, Retry: wait})
	case err != nil:
		done(Answer{Err: err})
	case !in.topics[m.Topic]:
		done(Answer{Err: errTopic})
	case !in.enqueue(queued{m, done}):
		done(Answer{Err: errBusy, Retry: retryLater})
	}
}

// enqueue reports false when too much waits or Run has ended.
func (in *Inbox) enqueue(q queued) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed || len(in.queue) >= maxQueued || in.bytes+len(q.Data) > maxQueuedBytes {
		return false
	}
	in.queue = append(in.queue, q)
	in.bytes += len(q.Data)
	in.wake()
	return true
}

func (in *Inbox) wake() {
	select {
	case in.arrived <- struct{}{}:
	default:
	}
}

// Run stores messages until ctx is done. It returns nil then, and refuses what is left.
func (in *Inbox) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		select {
		case <-in.arrived:
			in.storeAll(ctx, in.next(maxBatch))
		case <-ctx.Done():
		}
	}
	in.mu.Lock()
	in.closed = true
	in.mu.Unlock()
	for _, q := range in.next(maxQueued) {
		q.answer(Answer{Err: errBusy, Retry: retryLater})
	}
	return nil
}

// next takes the first messages out of the queue, at most so many.
func (in *Inbox) next(most int) []queued {
	in.mu.Lock()
	defer in.mu.Unlock()
	n := min(most, len(in.queue))
	batch := in.queue[:n:n]
	in.queue = in.queue[n:]
	for _, q := range batch {
		in.bytes -= len(q.Data)
	}
	if len(in.queue) == 0 {
		in.queue = nil
	} else {
		in.wake()
	}
	return batch
}

// storeAll stores a batch and answers all of it. When the store refuses one of the
// messages, it looks for that one by halves.
func (in *Inbox) storeAll(ctx context.Context, batch []queued) {
	if len(batch) == 0 {
		return
	}
	stored, err := in.add(ctx, batch)
	switch code := taskfeed.CodeOf(err); {
	case err == nil:
		for i, q := range batch {
			q.answer(Answer{ID: stored[i].ID, Err: stored[i].Err})
			if stored[i].Err == nil {
				in.waiting++ // some may have been stored before; the next count corrects that
			}
		}
	case code == taskfeed.CodeBadRequest && len(batch) > 1:
		half := len(batch) / 2
		in.storeAll(ctx, batch[:half])
		in.storeAll(ctx, batch[half:])
	case code == taskfeed.CodeBadRequest:
		batch[0].answer(Answer{Err: request.AsError(err)})
	default:
		in.failed(err)
		refusal := errBusy
		if code == taskfeed.CodeUnavailable {
			refusal = request.AsError(err)
		}
		for _, q := range batch {
			q.answer(Answer{Err: refusal, Retry: retryLater})
		}
	}
}

func (in *Inbox) add(ctx context.Context, batch []queued) ([]taskfeed.Stored, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout) // what is under way may end
	defer cancel()
	if now := time.Now(); now.Sub(in.counted) > countEvery {
		waiting, err := in.store.WaitingMessages(ctx)
		if err != nil {
			return nil, err
		}
		in.waiting, in.counted = waiting, now
	}
	messages := make([]taskfeed.Message, len(batch))
	for i, q := range batch {
		messages[i] = q.Message
	}
	in.batches.Inc()
	return in.store.AddMessages(ctx, messages, taskfeed.InboxLimits{PerUser: in.cfg.PerUser, Room: max(in.cfg.Total-in.waiting, 0)})
}

// failed logs that messages cannot be stored, once in ten seconds.
func (in *Inbox) failed(err error) {
	if now := time.Now(); now.Sub(in.warned) > 10*time.Second {
		in.warned = now
		in.log.Warn("messages of users not stored; their clients send them again", "error", err)
	}
}
