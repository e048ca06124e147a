package hub

import (
	"fmt"
	"slices"
	"strings"

	"github.com/taskfeed/taskfeed"
)

// Reserve counts a connection that the user is about to make. It returns
// CodeTooManyConnections when the user has as many as allowed, and CodeUnavailable
// when the server has, or has not reached the log yet. Otherwise release gives the
// reservation back; calls after the first do nothing.
func (h *Hub) Reserve(userID string) (release func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.mayReserve(userID); err != nil {
		return nil, err
	}
	f := h.enter(userID)
	f.reserved++
	h.reserved++
	r := &reservation{h, f}
	return r.release, nil
}

// mayReserve checks the limits. It keeps nothing of a user who is refused.
func (h *Hub) mayReserve(userID string) error {
	if !h.ready {
		return errNotReady
	}
	if f, limit := h.users[userID], h.cfg.MaxPerUser; f != nil && limit >= 0 && f.reserved >= limit {
		return &taskfeed.Error{
			Code:    taskfeed.CodeTooManyConnections,
			Message: fmt.Sprintf("this user has %d connections, as many as allowed; close one first", f.reserved),
		}
	}
	if limit := h.cfg.MaxTotal; limit >= 0 && h.reserved >= limit {
		return &taskfeed.Error{
			Code:    taskfeed.CodeUnavailable,
			Message: "the server has as many connections as it can hold; try again later",
		}
	}
	return nil
}

type reservation struct {
	hub  *Hub
	feed *feed // nil once released
}

func (r *reservation) release() {
	h := r.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.feed == nil {
		return
	}
	r.feed.reserved--
	h.reserved--
	h.leave(r.feed)
	r.feed = nil
}

// enter returns the user's feed. The caller counts itself in it, or calls leave.
func (h *Hub) enter(userID string) *feed {
	f := h.users[userID]
	if f == nil {
		f = &feed{user: strings.Clone(userID)} // the caller's string may keep a whole request in memory
		h.users[f.user] = f
	}
	return f
}

// leave removes the feed of a user or group without reservations, connections and readers.
func (h *Hub) leave(f *feed) {
	if f.user != "" && f.reserved == 0 && f.conns == 0 && len(f.subs) == 0 {
		delete(h.users, f.user)
	}
}

// admit counts a new subscriber as a connection of its owner, whosever feeds it reads.
func (h *Hub) admit(s *Subscriber, owner string) {
	if owner == "" {
		h.unowned++
		return
	}
	s.owner = h.enter(owner)
	s.owner.conns++
	if s.owner.conns == 1 {
		h.connected++
	}
}

// dismiss undoes admit.
func (h *Hub) dismiss(s *Subscriber) {
	if s.owner == nil {
		h.unowned--
		return
	}
	s.owner.conns--
	if s.owner.conns == 0 {
		h.connected--
	}
	h.leave(s.owner)
}

// Stats is what the hub counts. The uint64 fields only grow.
type Stats struct {
	Head        taskfeed.Cursor // the last event announced
	Users       int             // users with a subscriber
	Subscribers int             // subscribers with an owner, so those of clients
	Reserved    int             // reservations not released
	RecentBytes int             // what the recent frames cost now
	Replaying   int             // reads of the log that run now

	Published uint64 // events that Publish placed
	Delivered uint64 // events that Next returned
	Replayed  uint64 // of these, those read from the log
	Recalled  uint64 // of these, those of the recent log
	Unread    uint64 // subscribers that came back and had missed nothing, as was known without a read
	LogReads  uint64 // queries of the log
	Joined    uint64 // replays that were answered by a query of another connection
	Resets    uint64 // feed_reset frames
	Shed      uint64 // recent frames dropped while somebody waited for them
}

// Stats returns the counters as they are at one moment.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.stats
	s.Head = h.head
	s.Users = h.connected
	s.Subscribers = len(h.cast.subs) + len(h.all.subs) - h.unowned
	s.Reserved = h.reserved
	s.RecentBytes = h.recentBytes
	s.Replaying = int(h.turns.Used())
	return s
}

// UserCount is how many subscribers a user has.
type UserCount struct {
	UserID      string
	Subscribers int
}

// Users returns every user who has a subscriber, by ascending UserID. It copies
// them all: call it for operators' requests, not for users'.
func (h *Hub) Users() []UserCount {
	users := h.listUsers()
	slices.SortFunc(users, func(a, b UserCount) int { return strings.Compare(a.UserID, b.UserID) })
	return users
}

func (h *Hub) listUsers() []UserCount {
	h.mu.Lock()
	defer h.mu.Unlock()
	users := make([]UserCount, 0, h.connected)
	for _, f := range h.users {
		if f.conns > 0 {
			users = append(users, UserCount{f.user, f.conns})
		}
	}
	return users
}
