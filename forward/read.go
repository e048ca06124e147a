package forward

import (
	"context"
	"slices"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/pause"
)

// pageSize is how many events one read returns at most.
const pageSize = 500

// page is what was read at once.
type page struct {
	messages []*message
	through  taskfeed.Cursor // no other event up to it is to be sent
	lost     int64           // ids before it that the log no longer keeps
}

// read reads the log in order until ctx is done.
func (f *Forwarder) read(ctx context.Context, after taskfeed.Cursor, pages chan<- page) {
	backoff := pause.Backoff{Least: f.cfg.Poll, Most: 10 * time.Second}
	for ctx.Err() == nil {
		p, more, err := f.readPage(ctx, after)
		switch {
		case err != nil:
			if ctx.Err() == nil {
				f.cfg.Logger.Warn("cannot read the log", "name", f.cfg.Name, "error", err)
			}
			pause.For(ctx, backoff.Next())
			continue
		case p.through > after:
			after = p.through
			select {
			case pages <- p:
			case <-ctx.Done():
			}
		}
		backoff.Reset()
		if !more {
			pause.For(ctx, f.cfg.Poll)
		}
	}
}

func (f *Forwarder) filter() taskfeed.Filter {
	return taskfeed.Filter{UserID: f.cfg.UserID, All: f.cfg.UserID == "", Types: f.cfg.Types}
}

// readPage reads what follows a cursor, and whether there may be more.
func (f *Forwarder) readPage(ctx context.Context, after taskfeed.Cursor) (p page, more bool, err error) {
	last, err := f.log.LastID(ctx) // first: everything up to it can be read now
	if err != nil || last <= after {
		return page{}, false, err
	}
	events, through, more, err := f.log.After(ctx, f.filter(), after, pageSize)
	gone := taskfeed.CodeOf(err) == taskfeed.CodeGone
	if gone {
		events, through, more, err = f.log.After(ctx, f.filter(), 0, pageSize)
	}
	if err != nil {
		return page{}, false, err
	}
	if !more {
		through = last
	}
	if n := len(events); n > 0 {
		through = max(through, events[n-1].ID)
	}
	if gone {
		if p.lost, err = f.noteLost(ctx, after, through); err != nil {
			return page{}, false, err
		}
	}
	p.through = through
	if f.cfg.UnlessRead > 0 {
		if events, err = f.unread(ctx, events); err != nil {
			return page{}, false, err
		}
	}
	for _, e := range events {
		p.messages = append(p.messages, newMessage(&e))
	}
	return p, more, nil
}

// noteLost returns how many ids the log has dropped after the cursor.
func (f *Forwarder) noteLost(ctx context.Context, after, through taskfeed.Cursor) (int64, error) {
	kept, _, _, err := f.log.After(ctx, taskfeed.Filter{All: true}, 0, 1)
	if err != nil {
		return 0, err
	}
	oldest := through + 1
	if len(kept) > 0 {
		oldest = kept[0].ID
	}
	lost := int64(oldest - after - 1)
	f.cfg.Logger.Error("events were dropped by retention before they were forwarded: going on from the oldest that is kept",
		"name", f.cfg.Name, "after", int64(after), "oldest", int64(oldest), "ids", lost)
	f.counts.lost.Add(lost)
	return lost, nil
}

// unread waits until the events are as old as UnlessRead says, and returns those that
// their users have not read by then. The log is nearly in the order of time.
func (f *Forwarder) unread(ctx context.Context, events []taskfeed.Event) (kept []taskfeed.Event, err error) {
	for len(events) > 0 {
		if !pause.For(ctx, min(time.Until(events[0].Timestamp.Add(f.cfg.UnlessRead)), f.cfg.UnlessRead)) {
			return nil, context.Cause(ctx)
		}
		now := time.Now()
		due := slices.IndexFunc(events, func(e taskfeed.Event) bool { return e.Timestamp.Add(f.cfg.UnlessRead).After(now) })
		if due < 0 {
			due = len(events)
		}
		due = max(due, 1)
		some, err := f.withoutRead(ctx, events[:due])
		if err != nil {
			return nil, err
		}
		kept, events = append(kept, some...), events[due:]
	}
	return kept, nil
}

func (f *Forwarder) withoutRead(ctx context.Context, events []taskfeed.Event) ([]taskfeed.Event, error) {
	var users []string
	for _, e := range events {
		if !e.Broadcast() {
			users = append(users, e.UserID)
		}
	}
	slices.Sort(users)
	marks, err := f.log.Marks(ctx, slices.Compact(users))
	if err != nil {
		return nil, err
	}
	through := make(map[string]taskfeed.Cursor, len(marks))
	for _, m := range marks {
		through[m.UserID] = m.Through
	}
	var kept []taskfeed.Event
	for _, e := range events {
		if e.Broadcast() || e.ID > through[e.UserID] {
			kept = append(kept, e)
		}
	}
	f.counts.read.Add(int64(len(events) - len(kept)))
	return kept, nil
}
