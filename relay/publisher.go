package relay

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/internal/pause"
)

// PublisherConfig says how a publisher works. Zero means the default.
type PublisherConfig struct {
	// Prefix begins the subjects. Default "taskfeed".
	Prefix string
	// Server names this core in beacons.
	Server string
	// Uncompressed has messages sent as they are.
	Uncompressed bool
	// MessageBytes bounds a message before it is compressed, but for a single large
	// event. Default: what the transport takes, at most 1 MiB, less 64 KiB.
	MessageBytes int
	// Logger. Default: slog.Default().
	Logger *slog.Logger
}

// Publisher publishes what a core's hub announces. Listen and Lead have one caller each;
// Stats is safe for concurrent use.
type Publisher struct {
	transport Transport
	hub       *hub.Hub
	cfg       PublisherConfig
	subject   string

	counts PublisherCounts

	mu    sync.Mutex
	heard beacon // the latest that another core, or this one, has said
}

// PublisherCounts is what a publisher counts. All but Confirmed only grow.
type PublisherCounts struct {
	Messages    atomic.Uint64 // batches that were published
	Bytes       atomic.Uint64 // their size
	Republished atomic.Uint64 // times that it went back to what was confirmed
	Refused     atomic.Uint64 // messages of other programs, versions or logs
	Confirmed   atomic.Int64  // everything up to this id has reached the engine
	Healthy     atomic.Bool   // the last flush succeeded
}

// NewPublisher returns a publisher of the hub's events. It returns an error when the
// transport does not take messages that are large enough.
func NewPublisher(t Transport, h *hub.Hub, cfg PublisherConfig) (*Publisher, error) {
	if err := CheckPayload(t.MaxPayload()); err != nil {
		return nil, err
	}
	if cfg.MessageBytes == 0 {
		cfg.MessageBytes = messageBytes(t.MaxPayload())
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Publisher{transport: t, hub: h, cfg: cfg, subject: prefixOf(cfg.Prefix) + subjectLog}, nil
}

// Counts returns what the publisher has counted.
func (p *Publisher) Counts() *PublisherCounts { return &p.counts }

// Listen notes how far other cores publish, so that this one can go on from there, until
// stop is called.
func (p *Publisher) Listen() (stop func(), err error) {
	return p.transport.Subscribe(p.subject, p.hear)
}

func (p *Publisher) hear(message []byte) {
	k, d, err := open(message)
	var said beacon
	switch {
	case err != nil:
	case k == kindBatch:
		b, _ := decodeBatchHead(d)
		said = beacon{lineage: b.lineage, sent: b.to}
	case k == kindBeacon:
		said, err = decodeBeacon(d)
	case k == kindProbe:
		return
	}
	if err != nil || d.failed {
		p.counts.Refused.Add(1)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.heard.lineage != said.lineage && said.lineage.Epoch >= p.heard.lineage.Epoch || said.sent > p.heard.sent && p.heard.lineage == said.lineage {
		p.heard = said
	}
}

// startOf returns the id from which on this core publishes a log: the last that was
// heard, or nil for the head of the hub.
func (p *Publisher) startOf(l Lineage) *taskfeed.Cursor {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.heard.lineage != l || p.heard.sent == 0 || p.heard.sent > p.hub.Stats().Head {
		return nil
	}
	return new(p.heard.sent)
}

const (
	flushInterval = 250 * time.Millisecond
	flushMessages = 64
	flushTimeout  = 2 * time.Second
	burstEnd      = 50 * time.Millisecond // how long after a burst a beacon follows
)

// Lead publishes while this core leads the log, until ctx is done. It returns nil then.
func (p *Publisher) Lead(ctx context.Context, l Lineage) error {
	wake := make(chan struct{}, 1)
	s := &speaker{Publisher: p, lineage: l, wake: func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}}
	if err := s.start(p.startOf(l)); err != nil {
		return err
	}
	defer s.close()
	retry := &pause.Backoff{Least: 20 * time.Millisecond, Most: time.Second}
	failing := false
	for ctx.Err() == nil {
		rest, err := s.work(ctx, time.Now())
		if err != nil && ctx.Err() == nil {
			if !failing {
				p.cfg.Logger.Warn("cannot publish to gateways; trying again", "error", err)
			}
			failing = true
			pause.For(ctx, retry.Next())
			continue
		}
		if s.pending == 0 && failing {
			p.cfg.Logger.Info("publishing to gateways again", "after", int64(s.confirmed))
			failing = false
			retry.Reset()
		}
		timer := time.NewTimer(rest)
		select {
		case <-ctx.Done():
		case <-wake:
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// speaker publishes one log from one id on. One caller uses it.
type speaker struct {
	*Publisher
	lineage Lineage
	wake    func()

	sub       *hub.Subscriber
	sent      taskfeed.Cursor // everything up to it was published
	confirmed taskfeed.Cursor // and has reached the engine
	pending   int             // messages since the last flush
	flushed   time.Time
	spoke     time.Time // when the last batch was published
	beaconed  time.Time
	parked    bool
}

func (s *speaker) start(after *taskfeed.Cursor) (err error) {
	s.sub, err = s.hub.Subscribe(hub.SubscribeOptions{Filter: taskfeed.Filter{All: true}, After: after, Wake: s.wake})
	if err != nil {
		return err
	}
	s.sent = s.sub.Cursor()
	s.confirmed = s.sent
	return nil
}

func (s *speaker) close() { s.sub.Close() }

// work publishes all that there is, flushes and sends a beacon when each is due, and
// returns how long to rest unless there is more.
func (s *speaker) work(ctx context.Context, now time.Time) (rest time.Duration, err error) {
	for s.parked = false; !s.parked && s.pending < flushMessages; {
		if err := s.say(ctx, now); err != nil {
			return 0, err
		}
	}
	if s.pending >= flushMessages || s.pending > 0 && now.Sub(s.flushed) >= flushInterval {
		if err := s.confirm(ctx, now); err != nil {
			return 0, err
		}
	}
	if !s.parked {
		return 0, nil
	}
	rest = beaconInterval - now.Sub(s.beaconed)
	if s.spoke.After(s.beaconed) {
		rest = min(rest, burstEnd-now.Sub(s.spoke))
	}
	if s.pending > 0 {
		rest = min(rest, flushInterval-now.Sub(s.flushed))
	}
	if s.beaconed.IsZero() || rest <= 0 && s.pending == 0 || now.Sub(s.beaconed) >= beaconInterval || s.spoke.After(s.beaconed) && now.Sub(s.spoke) >= burstEnd {
		return burstEnd, s.beacon(now)
	}
	return rest, nil
}

// say publishes the next events.
func (s *speaker) say(ctx context.Context, now time.Time) error {
	frames, err := s.sub.Next(ctx)
	if err != nil {
		return err
	}
	from, to := s.sent, s.sub.Cursor()
	s.parked = len(frames) == 0
	s.sent = to
	if isReset(frames) || from == to {
		return nil // gateways find the gap, and that the log does not have it any more
	}
	b := batch{lineage: s.lineage, from: from, to: to, at: now, frames: make([]hub.Frame, len(frames))}
	for i, f := range frames {
		b.frames[i] = *f
	}
	for _, part := range b.split(s.cfg.MessageBytes) {
		message := part.encode(!s.cfg.Uncompressed)
		s.pending++
		s.counts.Messages.Add(1)
		s.counts.Bytes.Add(uint64(len(message)))
		if err := s.transport.Publish(s.subject, message); err != nil {
			return s.rewind(err)
		}
	}
	s.spoke = now
	return nil
}

// isReset reports whether the log does not keep what comes next.
func isReset(frames []*hub.Frame) bool {
	return len(frames) == 1 && frames[0].Type == taskfeed.TypeFeedReset && frames[0].Timestamp.IsZero()
}

// confirm waits until the engine has what was published.
func (s *speaker) confirm(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	err := s.transport.Flush(ctx)
	s.counts.Healthy.Store(err == nil)
	if err != nil {
		return s.rewind(err)
	}
	s.confirmed, s.pending, s.flushed = s.sent, 0, now
	s.counts.Confirmed.Store(int64(s.confirmed))
	return nil
}

// rewind goes back to what was confirmed, because the rest may be lost.
func (s *speaker) rewind(why error) error {
	s.counts.Republished.Add(1)
	s.sub.Close()
	s.pending = 0
	if err := s.start(new(s.confirmed)); err != nil {
		return err
	}
	return fmt.Errorf("publish: %w", why)
}

// beacon says how far the log has been published.
func (s *speaker) beacon(now time.Time) error {
	s.beaconed = now
	s.pending++ // it is confirmed like the others
	b := beacon{lineage: s.lineage, server: s.cfg.Server, sent: s.sent, head: s.hub.Stats().Head, at: now}
	return s.transport.Publish(s.subject, b.encode())
}
