package hub

import (
	"context"
	"fmt"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/fair"
)

const (
	// pageFrames and pageBytes bound what Next returns of the shared frames. A
	// page ends with the frame that reaches pageBytes.
	pageFrames = 256
	pageBytes  = 256 << 10
)

// Next returns the frames after the cursor, oldest first, and moves the cursor
// beyond them: the caller writes them all or closes the connection. No frames and
// no error means that the subscriber is at the head and parked: Wake is called once
// when there is more. Next may also be called before that.
//
// It waits for the log, and for its turn to read it, until ctx is done. After an
// error other than ErrClosed nothing has been skipped and Next may be called
// again. A cursor older than the log keeps gives a feed_reset frame, not an error.
func (s *Subscriber) Next(ctx context.Context) ([]*Frame, error) {
	for {
		frames, done, err := s.take()
		if done || err != nil {
			return frames, err
		}
		frames, err = s.read(ctx)
		if len(frames) > 0 || err != nil {
			return frames, err
		}
	}
}

// TryNext is Next where that needs only the shared frames. Otherwise ok is false: call
// Next. It does not wait.
func (s *Subscriber) TryNext() (frames []*Frame, ok bool, err error) { return s.take() }

// take returns shared frames or parks. Without done, the log must be read.
func (s *Subscriber) take() (frames []*Frame, done bool, err error) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.closed {
		return nil, false, ErrClosed
	}
	s.parked, s.dozing = false, false
	s.keep(nil) // a caller that asks again has written the last page
	if s.told {
		return s.takeNotes(), true, nil
	}
	s.unverified = s.unverified && s.cursor > h.head
	if s.unverified || s.cursor < s.floor() && !s.skipUnread() {
		return nil, false, nil
	}
	frames, drained := s.collect()
	if !s.owesLive { // a replay has all
		frames = s.thinned(frames)
	}
	h.stats.Delivered += uint64(len(frames))
	s.replays = s.replays && !drained
	if drained && s.owesLive {
		s.owesLive = false
		frames = append(frames, liveFrame(s.cursor))
	}
	s.parked = drained && len(frames) == 0
	return frames, s.parked || len(frames) > 0, nil
}

// skipUnread moves the cursor to the head if it is certain that there is nothing for s
// up to there.
func (s *Subscriber) skipUnread() bool {
	if filter := s.selects(); filter.All || !s.hub.last.none(&filter, s.cursor) {
		return false
	}
	s.advance(max(s.cursor, s.hub.head))
	s.hub.stats.Unread++
	return true
}

// collect takes a page of the shared frames and reports whether it ends at the
// head. It merges the feeds of s by id; they have no event in common.
func (s *Subscriber) collect() (page []*Frame, drained bool) {
	var memory [4][]entry
	rest, n := memory[:0], 0
	for _, p := range s.seats {
		if entries := p.feed.after(s.cursor); len(entries) > 0 {
			rest, n = append(rest, entries), n+len(entries)
		}
	}
	if n > 0 {
		page = make([]*Frame, 0, min(n, pageFrames))
	}
	to, size, needless := s.cursor, 0, s.needless(rest)
	for len(page) < pageFrames && size < pageBytes {
		frame := lowest(rest)
		if frame == nil {
			to, drained = max(to, s.hub.head), true
			break
		}
		to = frame.ID
		if s.wants(frame) && !needless[frame] {
			page = append(page, frame)
			size += len(frame.Bytes)
		}
	}
	s.advance(to)
	return page, drained
}

// lowest removes and returns the frame with the lowest id.
func lowest(lists [][]entry) *Frame {
	var first *[]entry
	for i := range lists {
		if l := &lists[i]; len(*l) > 0 && (first == nil || (*l)[0].frame.ID < (*first)[0].frame.ID) {
			first = l
		}
	}
	if first == nil {
		return nil
	}
	frame := (*first)[0].frame
	*first = (*first)[1:]
	return frame
}

// read returns a page of the ring or of the log, or a feed_reset frame. If it returns
// nothing, the cursor has moved, by this call or another.
func (s *Subscriber) read(ctx context.Context) ([]*Frame, error) {
	if frames, ok, err := s.recall(ctx); ok || err != nil {
		return frames, err
	}
	return s.readLog(ctx)
}

// recall returns a page of the ring, if the ring goes back to the cursor.
func (s *Subscriber) recall(ctx context.Context) (frames []*Frame, ok bool, err error) {
	at, err := s.where()
	if err != nil || at.unverified || at.filter.All && at.filter.Compact || !s.hub.ring.covers(at.cursor) {
		return nil, false, err
	}
	page, err := s.hub.pages.Take(ctx, s.reader(), recallBytes)
	if err != nil {
		return nil, false, fmt.Errorf("wait for memory to read recent events: %w", err)
	}
	frames, through, ok := s.hub.ring.after(&at.filter, at.cursor)
	if ok {
		frames, err = s.replay(at, through, frames, &s.hub.stats.Recalled)
	}
	s.holdOrRelease(page, frames)
	return frames, ok, err
}

// spot is where a subscriber stands when a read begins. If it stands elsewhere when the
// read has ended, the result is dropped.
type spot struct {
	cursor     taskfeed.Cursor
	own        *terms // the subscriber's variable; each SetFeeds changes it
	filter     taskfeed.Filter
	unverified bool // only the log can say that the cursor exists
}

func (s *Subscriber) where() (spot, error) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return s.whereLocked()
}

func (s *Subscriber) whereLocked() (spot, error) {
	if s.closed {
		return spot{}, ErrClosed
	}
	return spot{s.cursor, s.terms, s.selects(), s.unverified}, nil
}

// readLog returns a page of the log, or a feed_reset frame. If it returns neither, the
// cursor has moved, by this call or another, or the read of another has failed.
func (s *Subscriber) readLog(ctx context.Context) (frames []*Frame, err error) {
	at, err := s.where()
	if err != nil {
		return nil, err
	}
	key := keyOf(&at.filter, at.cursor)
	r, first := s.hub.join(key)
	var page *fair.Share
	if first {
		frames, page, err = s.readFirst(ctx, r, key, at)
	} else {
		page, err = s.await(ctx, r)
	}
	switch {
	case err != nil || r.failed:
		return frames, err
	case taskfeed.CodeOf(r.err) == taskfeed.CodeGone:
		frames, err = s.reset(at, taskfeed.ResetExpired)
	case r.err != nil:
		err = fmt.Errorf("read events after %s: %w", at.cursor, r.err)
	default:
		frames, err = s.replay(at, r.head, r.frames, &s.hub.stats.Replayed)
	}
	s.holdOrRelease(page, frames)
	return frames, err
}

const (
	// replayBytes bounds the memory of a page of the log, as events and as frames. A
	// page holds half a megabyte and at most one event more.
	replayBytes = 2 << 20
	// compactPages is how many times as many events a page has that holds no more than
	// is needed: to find them, the log passes many more.
	compactPages = 4
	// recallBytes bounds the memory of a page of the ring.
	recallBytes = pageBytes + 512<<10
)

// size is the memory that the frames take until they are written.
func size(frames []*Frame) (sum int64) {
	for _, f := range frames {
		sum += int64(f.cost())
	}
	return sum
}

// reader is the user whose turn a read of the log counts as.
func (s *Subscriber) reader() string {
	if s.owner == nil {
		return ""
	}
	return s.owner.user
}

// holdOrRelease keeps the frames' share of the memory until the next page, or releases
// it if there are none or the subscriber has been closed.
func (s *Subscriber) holdOrRelease(page *fair.Share, frames []*Frame) {
	if len(frames) == 0 {
		page.Release()
		return
	}
	page.Shrink(size(frames))
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if s.closed {
		page.Release()
		return
	}
	s.keep(page)
}

// keep replaces the share that is held. The caller holds the mutex.
func (s *Subscriber) keep(page *fair.Share) {
	if s.page != nil {
		s.page.Release()
	}
	s.page = page
}

// beforeRead returns where s stands, and the head as it is before the log is read: a
// page of the log is complete up to that head.
func (s *Subscriber) beforeRead() (at spot, head taskfeed.Cursor, err error) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if at, err = s.whereLocked(); err == nil {
		h.stats.LogReads++
	}
	return at, h.head, err
}

// replay moves the cursor beyond a page of the log or of the ring that was read at a
// spot, and up to head at least: there is nothing else up to there. It counts the
// frames.
func (s *Subscriber) replay(at spot, head taskfeed.Cursor, page []*Frame, count *uint64) ([]*Frame, error) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	to := max(at.cursor, min(head, h.head)) // the ring hears of events before the hub does
	if len(page) > 0 {
		to = max(to, page[len(page)-1].ID) // perhaps above the head: so does the log
	}
	if ok, err := s.stillAt(at); !ok {
		return nil, err
	}
	s.advance(to)
	h.stats.Delivered += uint64(len(page))
	*count += uint64(len(page))
	return page, nil
}

// verify asks the log whether a cursor above the head is also ahead of the log.
func (s *Subscriber) verify(ctx context.Context, at spot) ([]*Frame, error) {
	head, err := s.hub.log.Head(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the head of the log: %w", err)
	}
	if at.cursor > head {
		return s.reset(at, taskfeed.ResetAhead)
	}
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.unverified = false
	return nil, nil
}

// reset skips what is between the cursor and the head and goes on from the head.
func (s *Subscriber) reset(at spot, reason taskfeed.ResetReason) ([]*Frame, error) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if ok, err := s.stillAt(at); !ok {
		return nil, err
	}
	to := h.head
	switch reason {
	case taskfeed.ResetExpired:
		to = max(to, at.cursor) // what was returned is not returned again
	case taskfeed.ResetAhead:
		if at.cursor <= h.head {
			return nil, nil // the head has reached it meanwhile
		}
	}
	s.advance(to)
	h.stats.Resets++
	return []*Frame{resetFrame(reason, to)}, nil
}

// stillAt reports whether s still stands where a read began: another Next may have moved
// it meanwhile, and SetFeeds replaced its filter.
func (s *Subscriber) stillAt(at spot) (bool, error) {
	if s.closed {
		return false, ErrClosed
	}
	return s.cursor == at.cursor && s.terms == at.own && !s.parked, nil
}
