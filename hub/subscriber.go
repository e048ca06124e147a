package hub

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/fair"
)

// ErrClosed is what Next returns once Close has been called.
var ErrClosed = errors.New("hub: the subscriber is closed")

var errNotReady = &taskfeed.Error{
	Code:    taskfeed.CodeUnavailable,
	Message: "the server has not reached the event log yet; try again in a moment",
}

// SubscribeOptions says what a subscriber wants.
type SubscribeOptions struct {
	// Filter selects the events. It needs a UserID or All; with both, it selects
	// the events of all users for a connection of that user.
	Filter taskfeed.Filter
	// Owner is the user whose connection it is when that is not the filter's user,
	// as for an admin who watches another user. The connection counts as the owner's.
	Owner string
	// After is the cursor to go on from, 0 for all that the log keeps. Nil means
	// live only: from the head at the time of Subscribe.
	After *taskfeed.Cursor
	// WantLive asks for one feed_live frame when the subscriber first reaches the
	// head of the log, even after a feed_reset.
	WantLive bool
	// Wake is called once after a Next that returned nothing, when there may be
	// more. It runs on the publisher's goroutine and must not block; it may call
	// the subscriber's methods. It can be called before that Next has returned, and
	// once after Close. The subscriber keeps what it refers to alive.
	Wake func()
	// Doze is called in place of Wake while all that there is is progress of tasks; Wake
	// follows, once, when there is more or the subscriber's owner calls Rouse. Recent
	// progress that a later one of the same task follows within what Next returns is left
	// out then. The rules of Wake hold. Nil: Wake is called for each event.
	Doze func()
}

func (o *SubscribeOptions) validate() error {
	switch {
	case o.Filter.UserID == "" && !o.Filter.All:
		return errors.New("hub: a filter needs a UserID or All")
	case o.Wake == nil:
		return errors.New("hub: Wake is missing")
	case o.After != nil && *o.After < 0:
		return &taskfeed.Error{Code: taskfeed.CodeBadCursor, Message: "a cursor is not negative"}
	}
	return nil
}

// Subscriber is one connection's place in the hub. It is safe for concurrent use;
// when two calls of Next overlap, each frame goes to one of them.
type Subscriber struct {
	hub   *Hub
	owner *feed // of the user whose connection this is; nil when no user is named
	wake  func()

	// Guarded by the hub's mutex. Everything up to the cursor has been returned by
	// Next; while parked, so has everything up to the head.
	terms      *terms // replaced, never changed; nil: all of its user's feed
	seats      []seat // in the feeds that it reads from; the user's own is the first
	cursor     taskfeed.Cursor
	parked     bool // at the head; Wake or Doze is due
	dozing     bool // Doze was called, and Wake is due
	closed     bool
	owesLive   bool
	plain      bool // it gets no frames that are no events
	told       bool // the hub has notes for it
	replays    bool // it has not been at the head, and wants no more than it needs
	unverified bool // the cursor was ahead of the head; only the log can say whether it exists

	page *fair.Share // the memory of the last page of the log; nil for shared frames
}

// seat is where a subscriber stands in a feed's list.
type seat struct {
	feed  *feed
	index int
}

// Subscribe adds a subscriber. Its owner calls Next until it returns nothing,
// then again after each Wake, and Close in the end. It returns CodeUnavailable
// before the first SetHead and CodeBadCursor for a negative cursor. Next finds out
// whether the cursor lies within the log.
func (h *Hub) Subscribe(opts SubscribeOptions) (*Subscriber, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	filter := opts.Filter
	filter.Types = slices.Clone(filter.Types) // the caller's strings may keep a whole request in memory
	filter.TaskID = strings.Clone(filter.TaskID)

	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ready {
		return nil, errNotReady
	}
	s := &Subscriber{hub: h, wake: opts.Wake, owesLive: opts.WantLive, plain: !opts.WantLive, replays: filter.Compact, cursor: h.head}
	if opts.After != nil {
		s.cursor = *opts.After
		s.unverified = s.cursor > h.head
	}
	h.admit(s, cmp.Or(opts.Owner, filter.UserID))
	if filter = s.takeSeats(filter); filter.All || filter.TaskID != "" || len(filter.Types) > 0 || len(filter.Feeds) > 0 || filter.Compact || opts.Doze != nil {
		s.terms = &terms{filter, opts.Doze}
	}
	return s, nil
}

// SetFeeds replaces UserID and Feeds of the filter from the cursor on. Frames that Next
// has returned are not recalled. A subscriber of all users sees all feeds as it is.
func (s *Subscriber) SetFeeds(userID string, feeds []string) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	filter := s.selects()
	if s.closed || filter.All || filter.UserID == userID && slices.Equal(filter.Feeds, feeds) {
		return
	}
	s.advance(s.position())
	filter.UserID, filter.Feeds = userID, feeds
	s.leaveSeats()
	s.narrow(s.takeSeats(filter))
}

// Close removes the subscriber. A Next that is running ends with ErrClosed as
// soon as its read of the log does. Further calls do nothing.
func (s *Subscriber) Close() {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.closed {
		return
	}
	s.cursor, s.parked, s.dozing, s.closed = s.position(), false, false, true
	s.narrow(s.selects()) // the seats will be gone
	s.keep(nil)
	delete(h.notes, s)
	s.leaveSeats()
	h.dismiss(s)
}

// Cursor returns the id of the last event that Next returned, or a later one when
// there is nothing for this subscriber up to it.
func (s *Subscriber) Cursor() taskfeed.Cursor {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return s.position()
}

// Filter returns what the subscriber gets. Nobody changes its slices.
func (s *Subscriber) Filter() taskfeed.Filter {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return s.selects()
}

// selects is the filter as a value. The caller holds the mutex, as for all methods below.
func (s *Subscriber) selects() taskfeed.Filter {
	if s.terms == nil {
		return taskfeed.Filter{UserID: s.seats[0].feed.user}
	}
	return s.terms.Filter
}

// narrow replaces the filter.
func (s *Subscriber) narrow(filter taskfeed.Filter) {
	next := &terms{Filter: filter}
	if s.terms != nil {
		next.doze = s.terms.doze
	}
	s.terms = next
}

// position is the up-to-date cursor.
func (s *Subscriber) position() taskfeed.Cursor {
	if s.parked {
		return max(s.cursor, s.hub.head)
	}
	return s.cursor
}

// floor is the id above which the shared frames are complete for s.
func (s *Subscriber) floor() taskfeed.Cursor {
	floor := s.hub.floor
	for _, p := range s.seats {
		floor = max(floor, p.feed.floor)
	}
	return floor
}

// advance moves the cursor.
func (s *Subscriber) advance(to taskfeed.Cursor) {
	for _, p := range s.seats {
		s.hub.pass(p.feed, s.cursor, to)
	}
	s.cursor = to
}

// arrive tells s of the next event of one of its feeds and reports whether s still
// has to pass it. A parked subscriber passes events that it does not want at once.
func (s *Subscriber) arrive(e *taskfeed.Event) bool {
	if s.parked && e.ID > s.cursor {
		if s.terms != nil && !s.terms.Match(e) {
			s.cursor = e.ID
			return false
		}
		s.unpark(e.ID, s.dozes(e.Type))
	} else if s.dozing && !s.dozes(e.Type) && s.terms.Match(e) {
		s.rouse()
	}
	return e.ID > s.cursor
}

// unpark wakes a parked subscriber, or has it doze, because the head is about to move
// beyond its cursor, to head.
func (s *Subscriber) unpark(head taskfeed.Cursor, dozing bool) {
	if !s.parked || s.cursor >= head {
		return
	}
	s.cursor, s.parked, s.dozing = s.position(), false, dozing
	wake := s.wake
	if dozing {
		wake = s.terms.doze
	}
	s.hub.wakes = append(s.hub.wakes, wake)
}

// wants reports whether the filter selects a frame of one of the subscriber's feeds.
func (s *Subscriber) wants(f *Frame) bool {
	return s.terms == nil || s.terms.Match(&taskfeed.Event{UserID: s.terms.UserID, TaskID: f.TaskID, Type: f.Type})
}

// takeSeats has s read from the feeds of the filter, and returns the filter with names
// that subscribers share.
func (s *Subscriber) takeSeats(filter taskfeed.Filter) taskfeed.Filter {
	h := s.hub
	if filter.All {
		h.attach(s, &h.all)
		return filter
	}
	s.seats = make([]seat, 0, 2+len(filter.Feeds))
	own := h.enter(filter.UserID)
	filter.UserID = own.user
	h.attach(s, own)
	h.attach(s, &h.cast)
	names := filter.Feeds
	filter.Feeds = nil
	for _, name := range names {
		if f := h.enter(name); s.seatIn(f) == nil {
			filter.Feeds = append(filter.Feeds, f.user)
			h.attach(s, f)
		}
	}
	return filter
}

// leaveSeats undoes takeSeats.
func (s *Subscriber) leaveSeats() {
	for _, p := range s.seats {
		s.hub.detach(s, p)
	}
	s.seats = nil
}

// seatIn returns the seat in the feed, nil when there is none.
func (s *Subscriber) seatIn(f *feed) *seat {
	for i := range s.seats {
		if s.seats[i].feed == f {
			return &s.seats[i]
		}
	}
	return nil
}

// attach has s read from f.
func (h *Hub) attach(s *Subscriber, f *feed) {
	if len(f.subs) == 0 {
		f.floor = h.head
	}
	s.seats = append(s.seats, seat{f, len(f.subs)})
	f.subs = append(f.subs, s)
	entries := f.after(s.cursor)
	for i := range entries {
		entries[i].waiting++
	}
}

// detach undoes attach; the last subscriber of the list takes the seat of s.
func (h *Hub) detach(s *Subscriber, p seat) {
	f, end := p.feed, len(p.feed.subs)-1
	h.pass(f, s.cursor, taskfeed.MaxID)
	f.subs[p.index] = f.subs[end]
	f.subs[p.index].seatIn(f).index = p.index
	f.subs[end] = nil
	f.subs = f.subs[:end]
	if end == 0 {
		f.subs = nil
	}
	h.leave(f)
}
