package relay

import (
	"context"
	"errors"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/hub"
)

// Feed is the part of a gateway's hub that a receiver fills; *hub.Hub provides it.
type Feed interface {
	// SetHead says that all events up to head can be read from the log.
	SetHead(head taskfeed.Cursor)
	// Publish announces the log's next events.
	Publish(events []taskfeed.Event)
	// PublishFrames announces all events up to through. It keeps no memory of its caller.
	PublishFrames(frames []hub.Frame, through taskfeed.Cursor)
	// ForgetLog says that what was announced may not be in the log any more.
	ForgetLog()
}

// placer moves the head of a hub along the log. All its methods have one caller. It has
// no clock and waits for nothing but answers.
//
// At each time every event up to head was given to the hub, or lies below an id that the
// hub was told with SetHead. A batch is placed only if it begins at or below the head, so
// no event is left out; an answer only as far as the core knows the log to be final.
type placer struct {
	feed   Feed
	client *Client

	head    taskfeed.Cursor
	wanted  taskfeed.Cursor // the log has events up to it; above head, a core must be asked
	ahead   time.Time       // since when the cores have known more than they publish
	heard   time.Time       // when the last beacon came
	sender  string          // and from which core
	lag     time.Duration   // between publication and placing, of the last batch
	made    time.Time       // when the last event that was placed was made
	scratch []hub.Frame
}

// stuckAfter is how long a core may know of events that nobody publishes.
const stuckAfter = 2 * time.Second

// hear takes a message from the transport. It never asks: what is missing is wanted
// afterwards.
func (p *placer) hear(message []byte, now time.Time) error {
	k, d, err := open(message)
	switch {
	case err != nil:
	case k == kindBatch:
		err = p.hearBatch(d, now)
	case k == kindBeacon:
		err = p.hearBeacon(d, now)
	case k == kindProbe:
	default:
		err = errMalformed
	}
	if err != nil {
		p.client.counts.Refused.Add(1)
	}
	return err
}

func (p *placer) hearBatch(d *decoder, now time.Time) error {
	b, count := decodeBatchHead(d)
	if d.failed {
		return errMalformed
	}
	if err := p.client.admit(b.lineage); err != nil {
		return err
	}
	counts := p.client.counts
	switch {
	case b.to <= p.head:
		counts.Old.Add(1)
		return nil
	case b.from > p.head:
		counts.Early.Add(1)
		p.wanted = max(p.wanted, b.to)
		return nil
	}
	if err := b.decodeFrames(d, count, p.scratch); err != nil {
		return err
	}
	p.place(b.frames, b.to)
	if count > 0 {
		p.made = b.frames[count-1].Timestamp
	}
	if p.client.Lineage() != b.lineage {
		p.feed.ForgetLog() // the log forked meanwhile
	}
	counts.Applied.Add(1)
	p.lag = now.Sub(b.at)
	clear(b.frames) // they hold on to the message
	p.scratch = b.frames[:0]
	return nil
}

func (p *placer) hearBeacon(d *decoder, now time.Time) error {
	b, err := decodeBeacon(d)
	if err == nil {
		err = p.client.admit(b.lineage)
	}
	if err != nil {
		return err
	}
	p.heard, p.sender = now, b.server
	p.wanted = max(p.wanted, b.sent)
	switch {
	case b.head <= p.head:
		p.ahead = time.Time{}
	case p.ahead.IsZero():
		p.ahead = now
	case now.Sub(p.ahead) > stuckAfter:
		p.wanted = max(p.wanted, b.head)
	}
	return nil
}

// place gives the hub all events after the head and up to an id.
func (p *placer) place(frames []hub.Frame, to taskfeed.Cursor) {
	p.client.announced.Store(int64(to))
	p.feed.PublishFrames(frames, to)
	p.head = to
}

// lacks reports whether a core must be asked.
func (p *placer) lacks() bool { return p.wanted > p.head }

var errBehind = errors.New("relay: the core that answered does not know of events that were published")

// gapPage is how many events one question asks for.
const gapPage = 1000

// fill asks for one page of what is missing. After errBehind nothing is wanted any more:
// if the events exist, a beacon will name them again.
func (p *placer) fill(ctx context.Context) error {
	a, err := p.client.page(ctx, taskfeed.Filter{All: true}, p.head, gapPage)
	if taskfeed.CodeOf(err) == taskfeed.CodeGone {
		return p.jump(ctx)
	}
	if err != nil {
		return err
	}
	to := a.state.Last
	if a.page.More {
		to = a.page.Through
	}
	made := p.made
	if n := len(a.page.Events); n > 0 {
		to, made = max(to, a.page.Events[n-1].ID), a.page.Events[n-1].Timestamp
	}
	if to <= p.head {
		p.wanted = 0
		return errBehind
	}
	p.made = made
	p.client.announced.Store(int64(to))
	p.feed.Publish(a.page.Events)
	p.place(nil, to)
	if p.client.Lineage() != a.state.Lineage {
		p.feed.ForgetLog()
	}
	p.client.counts.Gaps.Add(1)
	p.client.counts.GapEvents.Add(uint64(len(a.page.Events)))
	return nil
}

// jump goes on where the log ends, because retention has passed the head: subscribers
// read the log from their own cursors, or are reset.
func (p *placer) jump(ctx context.Context) error {
	a, err := p.client.state(ctx)
	if err != nil {
		return err
	}
	if a.state.Last <= p.head {
		p.wanted = 0
		return errBehind
	}
	p.client.counts.Jumps.Add(1)
	p.setHead(a.state.Last)
	return nil
}

func (p *placer) setHead(to taskfeed.Cursor) {
	p.client.announced.Store(int64(to))
	p.feed.SetHead(to)
	p.head = to
}

// look asks where the log ends.
func (p *placer) look(ctx context.Context) (answer, error) {
	a, err := p.client.state(ctx)
	if err == nil {
		p.wanted = max(p.wanted, a.state.Last)
	}
	return a, err
}

// begin places the hub at the end of the log, or before it, at the first of the events
// that a core has in memory: then those fill the hub's memory, too.
func (p *placer) begin(ctx context.Context, warm bool) error {
	a, err := p.look(ctx)
	if err != nil {
		return err
	}
	start := a.state.Last
	if warm {
		start = min(start, a.recent)
	}
	p.setHead(start)
	return nil
}
