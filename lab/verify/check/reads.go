package check

import (
	"fmt"
	"slices"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// matchRead checks a feed_read: the user has marked that, and the client is told of marks.
func (s *subject) matchRead(n *session, it item) {
	s.figures["marks_told"]++
	marked := slices.ContainsFunc(s.Reads, func(m history.Read) bool { return m.User == n.user && m.Through == it.id && m.T <= it.t })
	switch {
	case n.proto == "plain":
		s.wrong(n.violation("P13", it, "a plain client was told of a read mark"))
	case !marked:
		s.wrong(n.violation("P1", it, fmt.Sprintf("%s was told to have read up to %d, and has not marked that", n.user, it.id)))
	}
}

// checkReads is P4 for read marks: they only go forward, unless the database lost some.
func (s *subject) checkReads(n *session) {
	var last item
	for _, it := range n.items {
		if it.kind != itemRead {
			continue
		}
		if it.id < last.id && !s.during(last.t, it.t, "", losing) {
			s.wrong(n.violation("P4", it, fmt.Sprintf("the read mark went back from %d to %d in session %d", last.id, it.id, n.number)))
		}
		last = it
	}
}
