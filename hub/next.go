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
	s.parked = false
	s.keep(nil) // a caller that asks again has written the last page
	s.unverified = s.unverified && s.cursor > h.head
	if s.unverified || s.cursor < s.floor() && !s.skipUnread() {
		return nil, false, nil
	}
	frames, drained := s.collect()
	h.stats.Delivered += uint64(len(frames))
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
	if s.user == nil || s.filter.All || !s.hub.last.none(s.user.user, s.cursor) {
		return false
	}
	s.advance(max(s.cursor, s.hub.head))
	s.hub.stats.Unread++
	return true
}

// collect takes a page of the shared frames and reports whether it ends at the
// head. It merges the feeds of s by id; they have no event in common.
func (s *Subscriber) collect() (page []*Frame, drained bool) {
	var rest [len(s.seats)][]entry
	for i, p := range s.seats {
		if p.feed != nil {
			rest[i] = p.feed.after(s.cursor)
		}
	}
	if n := len(rest[0]) + len(rest[1]); n > 0 {
		page = make([]*Frame, 0, min(n, pageFrames))
	}
	to, size := s.cursor, 0
	for len(page) < pageFrames && size < pageBytes {
		frame := lowest(&rest)
		if frame == nil {
			to, drained = max(to, s.hub.head), true
			break
		}
		to = frame.ID
		if s.wants(frame) {
			page = append(page, frame)
			size += len(frame.Bytes)
		}
	}
	s.advance(to)
	return page, drained
}

// lowest removes and returns the frame with the lowest id.
func lowest(lists *[2][]entry) *Frame {
	i := 0
	if len(lists[0]) == 0 || len(lists[1]) > 0 && lists[1][0].frame.ID < lists[0][0].frame.ID {
		i = 1
	}
	if len(lists[i]) == 0 {
		return nil
	}
	frame := lists[i][0].frame
	lists[i] = lists[i][1:]
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
	cursor, unverified, err := s.where()
	if err != nil || unverified || !s.hub.ring.covers(cursor) {
		return nil, false, err
	}
	page, err := s.hub.pages.Take(ctx, s.reader(), recallBytes)
	if err != nil {
		return nil, false, fmt.Errorf("wait for memory to read recent events: %w", err)
	}
	frames, through, ok := s.hub.ring.after(&s.filter, cursor)
	if ok {
		frames, err = s.replay(cursor, through, frames, &s.hub.stats.Recalled)
	}
	s.holdOrRelease(page, frames)
	return frames, ok, err
}

// where returns the cursor, and whether only the log can say that it exists.
func (s *Subscriber) where() (cursor taskfeed.Cursor, unverified bool, err error) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if s.closed {
		return 0, false, ErrClosed
	}
	return s.cursor, s.unverified, nil
}

// readLog returns a page of the log, or a feed_reset frame. If it returns neither, the
// cursor has moved, by this call or another, or the read of another has failed.
func (s *Subscriber) readLog(ctx context.Context) (frames []*Frame, err error) {
	cursor, _, err := s.where()
	if err != nil {
		return nil, err
	}
	key := keyOf(&s.filter, cursor)
	r, first := s.hub.join(key)
	var page *fair.Share
	if first {
		frames, page, err = s.readFirst(ctx, r, key)
	} else {
		page, err = s.await(ctx, r)
	}
	switch {
	case err != nil || r.failed:
		return frames, err
	case taskfeed.CodeOf(r.err) == taskfeed.CodeGone:
		frames, err = s.reset(cursor, taskfeed.ResetExpired)
	case r.err != nil:
		err = fmt.Errorf("read events after %s: %w", cursor, r.err)
	default:
		frames, err = s.replay(cursor, r.head, r.frames, &s.hub.stats.Replayed)
	}
	s.holdOrRelease(page, frames)
	return frames, err
}

const (
	// replayBytes bounds the memory of a page of the log, as events and as frames. A
	// page holds half a megabyte and at most one event more.
	replayBytes = 2 << 20
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
	if s.user == nil {
		return ""
	}
	return s.user.user
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

// beforeRead returns the cursor, and the head as it is before the log is read: a
// page of the log is complete up to that head.
func (s *Subscriber) beforeRead() (cursor, head taskfeed.Cursor, unverified bool, err error) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.closed {
		return 0, 0, false, ErrClosed
	}
	h.stats.LogReads++
	return s.cursor, h.head, s.unverified, nil
}

// replay moves the cursor beyond a page of the log or of the ring that was read from
// cursor on, and up to head at least: there is nothing else up to there. It counts the
// frames.
func (s *Subscriber) replay(cursor, head taskfeed.Cursor, page []*Frame, count *uint64) ([]*Frame, error) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	to := max(cursor, min(head, h.head)) // the ring hears of events before the hub does
	if len(page) > 0 {
		to = max(to, page[len(page)-1].ID) // perhaps above the head: so does the log
	}
	if ok, err := s.stillAt(cursor); !ok {
		return nil, err
	}
	s.advance(to)
	h.stats.Delivered += uint64(len(page))
	*count += uint64(len(page))
	return page, nil
}

// verify asks the log whether a cursor above the head is also ahead of the log.
func (s *Subscriber) verify(ctx context.Context, cursor taskfeed.Cursor) ([]*Frame, error) {
	head, err := s.hub.log.Head(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the head of the log: %w", err)
	}
	if cursor > head {
		return s.reset(cursor, taskfeed.ResetAhead)
	}
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.unverified = false
	return nil, nil
}

// reset skips what is between the cursor and the head and goes on from the head.
func (s *Subscriber) reset(cursor taskfeed.Cursor, reason taskfeed.ResetReason) ([]*Frame, error) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if ok, err := s.stillAt(cursor); !ok {
		return nil, err
	}
	to := h.head
	switch reason {
	case taskfeed.ResetExpired:
		to = max(to, cursor) // what was returned is not returned again
	case taskfeed.ResetAhead:
		if cursor <= h.head {
			return nil, nil // the head has reached it meanwhile
		}
	}
	s.advance(to)
	h.stats.Resets++
	return []*Frame{resetFrame(reason, to)}, nil
}

// stillAt reports whether the cursor is still where a read of the log began. If
// another Next has moved it meanwhile, the result of the read is dropped.
func (s *Subscriber) stillAt(cursor taskfeed.Cursor) (bool, error) {
	if s.closed {
		return false, ErrClosed
	}
	return s.cursor == cursor && !s.parked, nil
}
