package hub

import (
	"slices"

	"github.com/taskfeed/taskfeed"
)

// PublishFrames is Publish for a publisher that has the frames of the events, and knows
// that these are all events of the log after the head and up to through. The hub copies
// what it keeps: the caller may use the memory of the frames again.
func (h *Hub) PublishFrames(frames []Frame, through taskfeed.Cursor) {
	for chunk := range slices.Chunk(frames, publishChunk) {
		h.publishFrames(chunk)
	}
	h.ring.advance(through)
	h.mu.Lock()
	h.head = max(h.head, through)
	h.mu.Unlock()
}

func (h *Hub) publishFrames(frames []Frame) {
	var events [publishChunk]taskfeed.Event
	var own [publishChunk]*Frame // those that a subscriber may want
	for i := range frames {
		f := &frames[i]
		events[i] = taskfeed.Event{ID: f.ID, UserID: f.UserID, TaskID: f.TaskID, Type: f.Type, Timestamp: f.Timestamp}
	}
	wanted := h.whichWanted(events[:len(frames)])
	for i := range frames {
		h.ring.add(&events[i], &frames[i])
		h.last.add(&events[i])
		if wanted[i] {
			own[i] = new(frames[i])
			own[i].Bytes = slices.Clone(frames[i].Bytes)
		}
	}
	h.mu.Lock()
	for i := range frames {
		h.place(&events[i], own[i])
	}
	h.unlockAndWake()
}

// whichWanted reports for each of at most publishChunk events whether a subscriber may
// want it.
func (h *Hub) whichWanted(events []taskfeed.Event) (wanted [publishChunk]bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range events {
		wanted[i] = events[i].ID > h.head && h.wanted(&events[i])
	}
	return wanted
}

// RecentFloor returns the cursor from which on the recent frames of all users are
// complete.
func (h *Hub) RecentFloor() taskfeed.Cursor {
	h.ring.mu.RLock()
	defer h.ring.mu.RUnlock()
	return h.ring.floor
}
