package hub

import (
	"slices"

	"github.com/taskfeed/taskfeed"
)

// A note is a frame that is no event: it has no place in the log, and who connects later
// does not get it. Only subscribers with notes take memory for them.

// Tell has Next return a frame that is no event, soon. It takes the place of a frame of
// the same type that Next has not returned yet.
func (s *Subscriber) Tell(typ taskfeed.Type, frame []byte) {
	h := s.hub
	h.mu.Lock()
	defer h.unlockAndWake()
	if s.closed {
		return
	}
	others := slices.DeleteFunc(h.notes[s], func(f *Frame) bool { return f.Type == typ })
	h.notes[s], s.told = append(others, &Frame{Type: typ, Bytes: frame}), true
	if s.parked {
		s.cursor, s.parked = s.position(), false
		h.wakes = append(h.wakes, s.wake)
	}
}

// takeNotes returns the notes and forgets them. The caller holds the mutex.
func (s *Subscriber) takeNotes() []*Frame {
	notes := s.hub.notes[s]
	delete(s.hub.notes, s)
	s.told = false
	return notes
}

// Plain reports whether the subscriber did not ask for frames that are no events.
func (s *Subscriber) Plain() bool { return s.plain }

// Parked returns the cursor, and whether s has nothing more to read: all up to the cursor
// has been returned by a Next, and was written if the caller writes before it calls Next
// again.
func (s *Subscriber) Parked() (at taskfeed.Cursor, parked bool) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return s.position(), s.parked
}

// Connections returns how many subscribers a user has.
func (h *Hub) Connections(userID string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f := h.users[userID]; f != nil {
		return f.conns
	}
	return 0
}
