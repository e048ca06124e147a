package taskfeed

// Moved is what one move of the sequencer appended to the log.
type Moved struct {
	// Events are the first events appended, in the order of their ids: all of them
	// unless they were too many or too large to return.
	Events []Event
	// Count is how many events were appended, Last the id of the last one.
	Count int
	Last  Cursor
	// More means that there are more visible changes.
	More bool
}

// Partial reports whether the move appended more events than Events has.
func (m *Moved) Partial() bool { return len(m.Events) < m.Count }
