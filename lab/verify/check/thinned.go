package check

import "slices"

const typeProgress = "task_progress"

// taskOf is a task in the feed of a user.
type taskOf struct{ user, task string }

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
	task := taskOf{r.user, r.task}
	left := slices.ContainsFunc(s.weighty(n)[task], func(it item) bool { return it.id > r.id && it.typ == typeProgress }) || slices.ContainsFunc(s.log, func(later *row) bool {
		return later.id > sp.to && later.typ == typeProgress && task == taskOf{later.user, later.task}
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
