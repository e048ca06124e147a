package taskfeed

// Moved is what one move of the sequencer appended to the log.
type Moved struct {
	// Events are the first events appended, in the order of their ids: all of
	// them unless they were too many or too large to hand on.
	Events []Event
	// Count is how many were appended, Last the id of the last one.
	Count int
	Last  Cursor
	// More says that changes were left behind that could have been taken.
	More bool
}

// Partial reports whether the log holds more of this move than Events shows.
func (m *Moved) Partial() bool { return len(m.Events) < m.Count }
