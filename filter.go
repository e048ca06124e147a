package taskfeed

import "slices"

// Filter says which events a subscriber wants. A Filter with a UserID selects
// that user's feed: their own events and the broadcasts. All selects the events
// of every user instead and is for admins. Types and TaskID narrow either;
// empty means any.
type Filter struct {
	UserID string
	All    bool
	Types  []Type
	TaskID string
}

// Match reports whether the filter selects the event.
func (f *Filter) Match(e *Event) bool {
	return (f.All || e.Broadcast() || e.UserID == f.UserID) &&
		(f.TaskID == "" || e.TaskID == f.TaskID) &&
		(len(f.Types) == 0 || slices.Contains(f.Types, e.Type))
}
