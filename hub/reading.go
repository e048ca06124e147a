package hub

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/fair"
)

// reading is a read of the log under way. Subscribers that want the same wait for it:
// often a user comes back with many connections at once, all with the same cursor.
type reading struct {
	done   chan struct{} // closed when the rest is set
	frames []*Frame
	head   taskfeed.Cursor // the frames are complete up to there
	err    error
	failed bool // for a reason of the reader's own; the others read again
}

// readingKey is equal for reads with the same result.
type readingKey struct {
	user, feeds, task, types string
	all, compact             bool
	after                    taskfeed.Cursor
}

func keyOf(f *taskfeed.Filter, after taskfeed.Cursor) readingKey {
	types := make([]string, len(f.Types))
	for i, t := range f.Types {
		types[i] = string(t)
	}
	slices.Sort(types)
	feeds := slices.Sorted(slices.Values(f.Feeds))
	return readingKey{user: f.UserID, feeds: strings.Join(feeds, "\n"), task: f.TaskID, types: strings.Join(types, ","), all: f.All, compact: f.Compact, after: after}
}

// join returns the reading of what the filter selects after the cursor, and whether the
// caller is the one to read. Whoever is must call end.
func (h *Hub) join(key readingKey) (r *reading, first bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r = h.readings[key]; r != nil {
		h.stats.Joined++
		return r, false
	}
	r = &reading{done: make(chan struct{}), failed: true}
	h.readings[key] = r
	return r, true
}

// end hands the result to those who wait for it.
func (h *Hub) end(key readingKey, r *reading) {
	h.mu.Lock()
	delete(h.readings, key)
	h.mu.Unlock()
	close(r.done)
}

// await waits for the result, and for memory for it.
func (s *Subscriber) await(ctx context.Context, r *reading) (page *fair.Share, err error) {
	select {
	case <-r.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a read of the log: %w", context.Cause(ctx))
	}
	if r.failed {
		return nil, nil
	}
	return s.hub.pages.Take(ctx, s.reader(), size(r.frames))
}

// readFirst reads the log for s and for those who have joined. The caller continues with
// the result and its memory, unless the reading has failed for a reason of the reader's
// own: then frames and err are what the reader gets.
func (s *Subscriber) readFirst(ctx context.Context, r *reading, key readingKey, at spot) (frames []*Frame, page *fair.Share, err error) {
	defer s.hub.end(key, r) // also after a panic
	memory, err := s.hub.pages.Take(ctx, s.reader(), replayBytes)
	if err != nil {
		return nil, nil, fmt.Errorf("wait for memory to read the log: %w", err)
	}
	defer func() {
		if r.failed {
			memory.Release()
		}
	}()
	turn, err := s.hub.turns.Take(ctx, s.reader(), 1)
	if err != nil {
		return nil, nil, fmt.Errorf("wait to read the log: %w", err)
	}
	defer turn.Release()
	now, head, err := s.beforeRead()
	switch {
	case err != nil || now.cursor != at.cursor || now.own != at.own:
		return nil, nil, err
	case now.unverified:
		frames, err = s.verify(ctx, now)
		return frames, nil, err
	}
	limit := s.hub.cfg.ReplayPage
	if at.filter.Compact {
		limit *= compactPages
	}
	events, through, more, err := s.hub.log.After(ctx, at.filter, at.cursor, limit)
	if err != nil && ctx.Err() != nil {
		return nil, nil, fmt.Errorf("read events after %s: %w", at.cursor, err)
	}
	if more {
		head = min(head, through) // the page is complete only up to there
	}
	r.frames, r.head, r.err, r.failed = replayFrames(events), head, err, false
	return nil, memory, nil
}
