package listener

import (
	"context"

	"github.com/taskfeed/taskfeed"
)

// Feed takes events in the order of their ids; *hub.Hub provides it.
type Feed interface {
	// SetHead says that all events up to head can be read from the log.
	SetHead(head taskfeed.Cursor)
	// Publish announces events; ids ascend from call to call.
	Publish(events []taskfeed.Event)
	// Skip announces the next count events, up to last, without handing them over. It
	// reports false, and does nothing, when they must be published.
	Skip(last taskfeed.Cursor, count int) bool
	// ForgetLog says that what was announced may not be in the log any more.
	ForgetLog()
}

// publisher hands the events of the log to the feed, each once and in order. It
// remembers where it stopped, from one session to the next.
type publisher struct {
	feed     Feed
	progress func() // called after each step, so that long work does not look like silence

	started   bool            // the feed knows where the log ends
	published taskfeed.Cursor // last event handed to the feed
	behind    bool            // the log may hold events after published
}

// page is how many events one read of the log asks for.
const page = 1000

// catchUp publishes what the log holds after the last published event, and
// returns how many events that were. The first time it only tells the feed where
// the log ends.
func (p *publisher) catchUp(ctx context.Context, log Log) (found int, err error) {
	if !p.started {
		return 0, p.skipToEnd(ctx, log)
	}
	for {
		events, _, more, err := log.After(ctx, taskfeed.Filter{All: true}, p.published, page)
		if taskfeed.CodeOf(err) == taskfeed.CodeGone {
			// This server was away for longer than retention. Subscribers read the log
			// from their own cursors, or are reset.
			return found, p.skipToEnd(ctx, log)
		}
		if err != nil {
			return found, err
		}
		p.publish(events)
		found += len(events)
		p.progress()
		if !more || len(events) == 0 {
			p.behind = false
			return found, nil
		}
	}
}

func (p *publisher) skipToEnd(ctx context.Context, log Log) error {
	last, err := log.LastID(ctx)
	if err != nil {
		return err
	}
	p.feed.SetHead(last)
	p.published = max(p.published, last)
	p.started, p.behind = true, false
	return nil
}

// skip announces the next events, which are in the log, if the feed can do without
// reading them.
func (p *publisher) skip(last taskfeed.Cursor, count int) bool {
	if !p.started || !p.feed.Skip(last, count) {
		return false
	}
	p.published = last
	return true
}

func (p *publisher) publish(events []taskfeed.Event) {
	if len(events) == 0 {
		return
	}
	p.feed.Publish(events)
	p.published = events[len(events)-1].ID
}
