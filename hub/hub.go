// Package hub knows who is connected and what they have seen, and hands each
// event to the connections of the user it is for.
//
// # Model
//
// A subscriber is a cursor over the log, not a queue. [Hub.Publish] announces
// events that are in the log. The hub encodes each event into one shared frame and
// keeps it until every subscriber of its feed has passed it or a bound in bytes is
// reached. [Subscriber.Next] returns what comes after the cursor: from the shared
// frames while it is close to the head, else from the log. Both are one loop over
// one cursor. So there is no hand-over between replay and live and no queue that
// can overflow, and a slow subscriber does not slow others.
//
// The hub keeps a number with each set of recent frames, its floor: the frames
// above the floor and up to the head are complete. A subscriber below the floor
// reads the log. Dropping frames, or a jump of the head, only raises a floor.
//
// A ring in memory holds the latest events of all users, connected or not. It answers
// before the log does, so clients that were away for a short time cost the log nothing.
//
// A subscriber with nothing to read is parked: it has no goroutine, only a
// function to call when there is more. The check and the parking are one step, so
// no wake-up is lost.
//
// # What it promises
//
// Each subscriber gets the events after its cursor that its filter selects, in
// ascending order, each once, or a feed_reset frame that says that some are gone.
// After a feed_live or feed_reset frame no event at or below its cursor follows.
//
// # What it does not do
//
// It never writes to a connection, starts no goroutine and has no clock. It does
// not decide who may subscribe to what: its caller has verified the principal. It
// relies on the log to show events in the order of their ids, and on its publisher
// to announce only events that the log holds.
package hub

import (
	"context"
	"slices"
	"sync"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/fair"
)

// Log is the part of the event log the hub needs; *store.Store provides it.
type Log interface {
	// After returns at most limit events after the cursor that match f, oldest
	// first. With more, the page is complete up to through, which is beyond the
	// cursor, and there may be matching events after that; a page can then even be
	// empty. Without more, it has every matching event announced before the call. It
	// returns CodeGone when the cursor is older than the log keeps. A cursor of 0 is
	// never gone: it means everything that is kept.
	After(ctx context.Context, f taskfeed.Filter, after taskfeed.Cursor, limit int) (events []taskfeed.Event, through taskfeed.Cursor, more bool, err error)

	// Head returns an id that no event in the log exceeds.
	Head(ctx context.Context) (taskfeed.Cursor, error)
}

// publishChunk is how many events Publish places while it holds the mutex once.
const publishChunk = 256

// Hub is the registry of subscribers and the fan-out. It is safe for concurrent
// use, but for Publish and PublishFrames, which take one caller at a time. It needs no closing.
type Hub struct {
	log   Log
	cfg   Config
	turns *fair.Budget // reads of the log, by user
	pages *fair.Budget // bytes of pages of the log that are being written
	ring  *ring        // frames of all users
	last  *lastIDs

	mu    sync.Mutex // not held while the log is read, a frame is encoded or Wake is called
	ready bool       // SetHead has been called
	head  taskfeed.Cursor
	floor taskfeed.Cursor // of all feeds: where the head last jumped to

	readings map[readingKey]*reading
	notes    map[*Subscriber][]*Frame // that Next has not returned yet

	users map[string]*feed // those with a subscriber or a reservation
	cast  feed             // the broadcasts: read by every subscriber of a user
	all   feed             // every event: read by subscribers of all users

	recent      feedList
	recentBytes int
	wakes       []func() // to call once the mutex is free

	reserved  int // reservations in all
	connected int // users with a subscriber
	unowned   int // subscribers of no user
	stats     Stats
}

// New returns a hub that reads older events from log. It refuses subscribers
// until SetHead is called.
func New(log Log, cfg Config) (*Hub, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Hub{
		log:   log,
		cfg:   cfg,
		turns: fair.New(int64(cfg.MaxReplays)),
		pages: fair.New(int64(cfg.ReplayBytes)),
		ring:  newRing(max(0, cfg.RecentLogBytes)),
		last:  newLastIDs(max(0, cfg.LastIDs)),
		users: make(map[string]*feed),

		readings: make(map[readingKey]*reading),
		notes:    make(map[*Subscriber][]*Frame),
	}, nil
}

// SetHead says where the log ends; live subscribers start there. It must be called
// before Publish, and again when ids have jumped. It only raises the head. Every
// event up to head must be visible to After by then. Subscribers read those that
// were not published from the log: each call makes each subscriber read once.
func (h *Hub) SetHead(head taskfeed.Cursor) {
	h.mu.Lock()
	h.ready = true
	if head > h.head {
		for _, f := range []*feed{&h.cast, &h.all} { // every subscriber reads one of them
			for _, s := range f.subs {
				s.unpark(head, false)
			}
		}
		h.head, h.floor = head, head
		h.ring.jump(head)
		h.last.jump(head)
	}
	h.unlockAndWake()
}

// eventsPerRead is how many events can be read at once in about the time that one
// subscriber takes to read its own.
const eventsPerRead = 50

// Skip announces the log's next count events, up to last, as Publish does, without
// reading them: each subscriber reads its own from the log. It reports false, and does
// nothing, where that would take longer than to read all of them once.
func (h *Hub) Skip(last taskfeed.Cursor, count int) bool {
	h.mu.Lock()
	few := len(h.all.subs) == 0 && len(h.cast.subs)*eventsPerRead <= count
	h.mu.Unlock()
	if few {
		h.SetHead(last)
	}
	return few
}

// ForgetFrames drops the recent frames of all users, because users may have been erased
// from the log. Clients that come back read the log until there are new ones.
func (h *Hub) ForgetFrames() { h.ring.forget() }

// ForgetLog drops all that the hub knows of the log, because it may be another log now:
// that of a standby or of a backup. Only its ids go on from the head. Subscribers that are
// behind read the log.
func (h *Hub) ForgetLog() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ring.forget()
	h.last.jump(h.head)
	for f := h.recent.oldest(); f != nil; f = h.recent.oldest() {
		h.shed(f, len(f.entries))
	}
}

// Publish announces events of the log by ascending id. Above the head there must be
// no gap; events up to the head are skipped. It takes one caller at a time. It never
// blocks on a subscriber; it calls Wake for those that were parked and have more to
// read.
func (h *Hub) Publish(events []taskfeed.Event) {
	for chunk := range slices.Chunk(events, publishChunk) {
		h.publish(chunk)
	}
}

func (h *Hub) publish(events []taskfeed.Event) {
	var frames [publishChunk]*Frame
	h.encode(events, &frames)
	for i := range events {
		h.ring.add(&events[i], frames[i])
		h.last.add(&events[i])
	}
	h.mu.Lock()
	for i := range events {
		h.place(&events[i], frames[i])
	}
	h.unlockAndWake()
}

// encode makes the frames of those events that a subscriber may want.
func (h *Hub) encode(events []taskfeed.Event, frames *[publishChunk]*Frame) {
	wanted := h.whichWanted(events)
	for i := range events {
		if wanted[i] {
			frames[i] = newFrame(&events[i])
		}
	}
}

func (h *Hub) wanted(e *taskfeed.Event) bool {
	if len(h.all.subs) > 0 {
		return true
	}
	f := h.feedOf(e)
	return f != nil && len(f.subs) > 0
}

// feedOf returns the feed of the event's user, or that of the broadcasts. It is nil
// for a user without a connection.
func (h *Hub) feedOf(e *taskfeed.Event) *feed {
	if e.Broadcast() {
		return &h.cast
	}
	return h.users[e.UserID]
}

// place adds the event to its feeds and moves the head onto it.
func (h *Hub) place(e *taskfeed.Event, frame *Frame) {
	if e.ID <= h.head {
		return
	}
	h.offer(&h.all, e, frame)
	if f := h.feedOf(e); f != nil {
		h.offer(f, e, frame)
	}
	h.head = e.ID
	h.stats.Published++
}

// unlockAndWake frees the mutex, then calls Wake for those that unpark has noted.
func (h *Hub) unlockAndWake() {
	wakes := h.wakes
	h.wakes = nil
	h.mu.Unlock()
	if len(wakes) == 0 {
		return
	}
	for _, wake := range wakes {
		wake()
	}
	clear(wakes)
	h.mu.Lock()
	if h.wakes == nil {
		h.wakes = wakes[:0] // reuse the memory
	}
	h.mu.Unlock()
}
