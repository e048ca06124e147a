package hub

import (
	"github.com/taskfeed/taskfeed"
)

// terms is what a subscriber wants that most do not.
type terms struct {
	taskfeed.Filter
	doze func() // see SubscribeOptions; nil: woken for each event
}

// Rouse has Wake called if Doze was and Wake has not been since.
func (s *Subscriber) Rouse() {
	h := s.hub
	h.mu.Lock()
	s.rouse()
	h.unlockAndWake()
}

// rouse notes that Wake is to be called. The caller holds the mutex.
func (s *Subscriber) rouse() {
	if s.dozing {
		s.dozing = false
		s.hub.wakes = append(s.hub.wakes, s.wake)
	}
}

// dozes reports whether s need not be woken at once for an event of this type.
func (s *Subscriber) dozes(kind taskfeed.Type) bool {
	return kind == taskfeed.TypeTaskProgress && s.terms != nil && s.terms.doze != nil
}

// thinned removes from a page the progress of tasks that come further within the page.
func (s *Subscriber) thinned(page []*Frame) []*Frame {
	if s.terms == nil || s.terms.doze == nil || len(page) < 2 {
		return page
	}
	type task struct{ user, id string }
	last := make(map[task]taskfeed.Cursor)
	for _, f := range page {
		if f.Type == taskfeed.TypeTaskProgress {
			last[task{f.UserID, f.TaskID}] = f.ID
		}
	}
	kept := page[:0]
	for _, f := range page {
		if f.Type != taskfeed.TypeTaskProgress || last[task{f.UserID, f.TaskID}] == f.ID {
			kept = append(kept, f)
		}
	}
	return kept
}
