package check

import (
	"fmt"
	"slices"
)

// checkNamed is P2 and P4 for clients whose cursor the server keeps: over all sessions such
// a client gets every event from its first session on, in order; it may get events again.
func (s *subject) checkNamed() {
	clients := make(map[string][]*session)
	for _, n := range s.sessions { // in the order of their time
		if hasTrait(n.traits, "named") && n.opened > 0 {
			clients[n.client] = append(clients[n.client], n)
		}
	}
	for _, sessions := range clients {
		s.checkOneNamed(sessions)
	}
}

func (s *subject) checkOneNamed(sessions []*session) {
	first := sessions[0]
	from, greatest, skipped := s.from(first), int64(0), int64(0)
	got := make(map[int64]bool)
	for _, n := range sessions {
		for _, it := range n.items {
			switch {
			case it.kind == itemReset && it.reason == "expired":
				skipped = max(skipped, it.id)
			case it.kind != itemEvent:
			case got[it.id]:
				s.figures["named_again"]++
			default:
				if got[it.id] = true; it.id < greatest {
					s.wrong(n.violation("P4", it, fmt.Sprintf("id %d came first in session %d, after id %d", it.id, n.number, greatest)))
				}
				greatest = max(greatest, it.id)
			}
		}
	}
	if from < 0 {
		return // it came too late for any event
	}
	for _, r := range s.byUser[first.user] {
		if r.id > from && r.id <= greatest && r.id > skipped && !got[r.id] {
			i := slices.IndexFunc(sessions, func(n *session) bool { return n.passed(r.id) != n.ended })
			n := sessions[max(i, 0)]
			s.wrong(Violation{Property: "P2", Client: n.client, User: n.user, ID: r.id, Key: r.key, Op: r.op(), T: n.passed(r.id),
				What: fmt.Sprintf("the client has a name and got later events, and %s of %s, id %d, in no session", r.typ, r.key, r.id)})
		}
	}
}
