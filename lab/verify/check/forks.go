package check

import "fmt"

// checkUndone is P1 after a fork of the database: a server that has given somebody an
// event of the log as it is since then gives nobody who comes later what the fork undid.
// Clients that were there before may still get it.
//
// What a fork undid is the end of the log, and later ids are above. So an event that is
// in the log, with a greater id, is younger than the fork.
func (s *subject) checkUndone() {
	known := make(map[string]heads) // by server: the greatest ids in the log that it had delivered
	for server, deliveries := range s.deliveries() {
		known[server] = headsOf(deliveries)
	}
	for _, n := range s.sessions {
		for _, it := range n.items {
			rows := s.byID[it.id]
			if it.kind != itemEvent || len(rows) == 0 || !rows[0].lost {
				continue
			}
			if head := known[n.server].by(n.dialed); head > it.id {
				s.wrong(n.violation("P1", it, fmt.Sprintf("%s of %s, id %d, was undone by a fork of the database, and %s, which had delivered id %d before session %d, delivered it",
					it.typ, it.key, it.id, n.server, head, n.number)))
				break
			}
		}
	}
}

// delivery is an event that reached a client.
type delivery struct{ t, id int64 }

// deliveries returns the deliveries of events that no fork has undone, by server.
func (s *subject) deliveries() map[string][]delivery {
	all := make(map[string][]delivery)
	for _, n := range s.sessions {
		for _, it := range n.items {
			if rows := s.byID[it.id]; it.kind == itemEvent && len(rows) > 0 && !rows[0].lost {
				all[n.server] = append(all[n.server], delivery{it.t, it.id})
			}
		}
	}
	return all
}
