package taskfeed

import "slices"

// Filter says which events a subscriber wants. A Filter with a UserID selects
// that user's feed: their own events and the broadcasts. Feeds adds the feeds
// of groups, named by the id that their events have as UserID; it names none twice and
// not UserID. All selects the events of every user instead and is for admins. Types and TaskID narrow either;
// empty means any. A feed_reset of the log tells that events are missing, perhaps
// of the types that the filter names, so every filter of types lets it pass.
type Filter struct {
	UserID string
	Feeds  []string
	All    bool
	// Compact leaves out what no longer matters of tasks where events are read late: an
	// event of a task before one that weighs as much. It does not change which events
	// match.
	Compact bool
	Types   []Type
	TaskID  string
}

// Match reports whether the filter selects the event.
func (f *Filter) Match(e *Event) bool {
	return (f.All || e.Broadcast() || e.UserID == f.UserID || slices.Contains(f.Feeds, e.UserID)) &&
		(f.TaskID == "" || e.TaskID == f.TaskID) &&
		(len(f.Types) == 0 || e.Type == TypeFeedReset || slices.Contains(f.Types, e.Type))
}
