package check

import "slices"

const typeProgress = "task_progress"

// progressOf is what a client that wants less progress must have the last of.
type progressOf struct{ user, task string }

// leftOut reports whether a session need not have an event.
func (s *subject) leftOut(n *session, sp span, r *row) bool {
	return s.thinned(n, sp, r) || s.outweighed(n, sp, r)
}

// thinned reports whether an event is live progress of a task, for a client that wants less
// of it, and progress of that task came later in the session, or was still to come when it
// ended.
func (s *subject) thinned(n *session, sp span, r *row) bool {
	if !hasTrait(n.traits, "thinned") || r.typ != typeProgress || n.replayed(r.id) {
		return false
	}
	task := progressOf{r.user, r.task}
	left := s.lastProgress(n)[task] > r.id || slices.ContainsFunc(s.log, func(later *row) bool {
		return later.id > sp.to && later.typ == typeProgress && task == progressOf{later.user, later.task}
	})
	if left {
		s.figures["left_out_as_thinned"]++
	}
	return left
}

// replayed reports whether an event belongs to the replay of a session, which has all.
func (n *session) replayed(id int64) bool {
	if n.after < 0 || n.proto == "plain" {
		return false
	}
	i := slices.IndexFunc(n.items, func(it item) bool { return it.kind == itemLive })
	return i < 0 || id <= n.items[i].id
}

// lastProgress returns the id of the last progress of each task in a session.
func (s *subject) lastProgress(n *session) map[progressOf]int64 {
	if n.progress == nil {
		n.progress = make(map[progressOf]int64)
		for _, it := range n.items {
			if rows := s.byID[it.id]; it.kind == itemEvent && it.typ == typeProgress && len(rows) > 0 {
				task := progressOf{rows[0].user, rows[0].task}
				n.progress[task] = max(n.progress[task], it.id)
			}
		}
	}
	return n.progress
}
