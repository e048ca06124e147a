// Package hub knows who is connected and what they have seen, and hands each
// event to the connections of the user it is for.
//
// # Model
//
// A subscriber is a cursor over the log, not a queue. [Hub.Publish] announces
// events that are in the log; the hub keeps their frames, each encoded once and
// shared, until every subscriber concerned has passed them or a bound in bytes
// is met. [Subscriber.Next] takes what comes after its cursor: from the shared
// frames while it is close to the head, else from the log. Both are one loop
// over one cursor, so there is no hand-over between replay and live, no queue to
// overflow, and a slow subscriber costs nobody else anything.
//
// The hub keeps one number beside each set of recent frames, its floor: above it
// and up to the head the frames are complete. A subscriber below the floor reads
// the log. Dropping frames, or a head that jumps, only ever raises a floor.
//
// A subscriber with nothing to read is parked: it has no goroutine, only a
// function to call when there is more. The check and the parking are one step, so
// no wake-up is lost.
//
// # What it promises
//
// To each subscriber: the events its filter selects after its cursor, in
// ascending order, each once, or a feed_reset frame that says that some are gone.
// A feed_live or feed_reset frame's cursor is true: no event at or below it
// follows.
//
// # What it does not
//
// It never writes to a connection, starts no goroutine and has no clock. It does
// not know who may subscribe to what: its caller has verified the principal. It
// trusts the log to show events in the order of their ids, and its publisher to
// announce only what the log already holds.
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
	// After returns at most limit events that match f after the cursor, oldest
	// first. When there may be more, no other up to through, which is beyond the
	// cursor, matches; else the log holds no other that was announced before. It may
	// find none and still say that there may be more. It returns CodeGone when the cursor is older than the log keeps; a
	// cursor of 0 is never gone: it means all that is kept.
	After(ctx context.Context, f taskfeed.Filter, after taskfeed.Cursor, limit int) (events []taskfeed.Event, through taskfeed.Cursor, more bool, err error)

	// Head returns an id that is not lower than that of any event in the log.
	Head(ctx context.Context) (taskfeed.Cursor, error)
}

// publishChunk is how many events are placed under one hold of the mutex.
const publishChunk = 256

// Hub is the registry of subscribers and the fan-out. It is safe for concurrent
// use; only Publish wants one caller at a time. It needs no closing.
type Hub struct {
	log   Log
	cfg   Config
	turns *fair.Budget // reads of the log, by user
	pages *fair.Budget // bytes of pages of the log that are being written

	mu    sync.Mutex // never held while the log is read, a frame encoded or Wake called
	ready bool       // SetHead has been called
	head  taskfeed.Cursor
	floor taskfeed.Cursor // of all feeds: where the head last jumped to

	users map[string]*feed // those with a subscriber or a reservation
	cast  feed             // the broadcasts: read by every subscriber of a user
	all   feed             // every event: read by subscribers of all users

	recent      feedList
	recentBytes int
	wakes       []func() // to call once the mutex is free

	reserved  int // reservations in all
	connected int // users with a subscriber
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
		users: make(map[string]*feed),
	}, nil
}

// SetHead says where the log ends; live subscribers start there. It must be
// called before Publish, and again when ids have jumped: it only ever raises the
// head. Every event at or below head must be in the log by then, visible to After.
// Those that were not published are read from the log by the subscribers
// concerned, so a jump over nothing is a waste: each subscriber reads the log once.
func (h *Hub) SetHead(head taskfeed.Cursor) {
	h.mu.Lock()
	h.ready = true
	if head > h.head {
		for _, f := range []*feed{&h.cast, &h.all} { // between them they have every subscriber
			for _, s := range f.subs {
				s.unpark(head)
			}
		}
		h.head, h.floor = head, head
	}
	h.unlockAndWake()
}

// Publish announces events that the log holds, by ascending id and without a gap
// among those above the head. Events at or below the head are skipped. One caller
// at a time. It never blocks on a subscriber, but calls the Wake of those that
// were parked and are concerned.
func (h *Hub) Publish(events []taskfeed.Event) {
	for chunk := range slices.Chunk(events, publishChunk) {
		h.publish(chunk)
	}
}

func (h *Hub) publish(events []taskfeed.Event) {
	var frames [publishChunk]*Frame
	h.encode(events, &frames)
	h.mu.Lock()
	for i := range events {
		h.place(&events[i], frames[i])
	}
	h.unlockAndWake()
}

// encode makes the frames of those events that somebody is there for.
func (h *Hub) encode(events []taskfeed.Event, frames *[publishChunk]*Frame) {
	var wanted [publishChunk]bool
	h.mu.Lock()
	for i := range events {
		e := &events[i]
		wanted[i] = e.ID > h.head && h.wanted(e)
	}
	h.mu.Unlock()
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

// feedOf returns the feed, beside that of all users, that the event belongs to.
// It is nil for a user who is not connected.
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

// unlockAndWake frees the mutex and then wakes whom unpark has noted.
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
		h.wakes = wakes[:0] // use the memory again
	}
	h.mu.Unlock()
}
