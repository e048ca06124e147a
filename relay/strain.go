package relay

import (
	"time"

	"github.com/taskfeed/taskfeed"
)

const (
	// farBehind is how long a gateway may know of events that it has not placed.
	farBehind = 5 * time.Second
	// strainedAfter is how many samples in a row must find it far behind and not catching
	// up, before it cannot keep up.
	strainedAfter  = 3
	sampleInterval = time.Second
)

// strain finds out whether a gateway keeps up with the log. It is far behind when it
// heard of an event long ago that is not placed yet. It catches up as long as it places
// more than a second of the log in a second, for example after an outage. Neither
// compares the clocks of two servers.
type strain struct {
	owed    []owed    // what was heard of and is not placed, oldest first
	made    time.Time // when the last event that was placed was made
	sampled time.Time
	then    time.Time // made, at the sample before
	found   int       // samples in a row
}

// owed is an id up to which there are events, and when it was first heard of one of them
// that is above the id before.
type owed struct {
	to taskfeed.Cursor
	at time.Time
}

const (
	owedStep = 100 * time.Millisecond // what is heard of within it is one
	maxOwed  = 1000
)

// heard notes that at a time there were events up to an id.
func (s *strain) heard(to taskfeed.Cursor, at time.Time) {
	n := len(s.owed)
	switch {
	case n > 0 && to <= s.owed[n-1].to:
	case n > 0 && (at.Sub(s.owed[n-1].at) < owedStep || n == maxOwed):
		s.owed[n-1].to = to
	default:
		s.owed = append(s.owed, owed{to, at})
	}
}

// placed notes that all events up to head were placed; the last that is known of them was
// made at a time.
func (s *strain) placed(head taskfeed.Cursor, made time.Time) {
	s.made = made
	n := 0
	for n < len(s.owed) && s.owed[n].to <= head {
		n++
	}
	s.owed = s.owed[n:]
}

// sample looks at most once a second. waiting is when the message came that is worked on.
func (s *strain) sample(now, waiting time.Time) {
	passed := now.Sub(s.sampled)
	if passed < sampleInterval {
		return
	}
	since := waiting
	if len(s.owed) > 0 && s.owed[0].at.Before(since) {
		since = s.owed[0].at
	}
	if now.Sub(since) > farBehind && s.made.Sub(s.then) < passed {
		s.found++
	} else {
		s.found = 0
	}
	s.sampled, s.then = now, s.made
}

// overloaded reports whether the gateway cannot keep up.
func (s *strain) overloaded() bool { return s.found >= strainedAfter }
