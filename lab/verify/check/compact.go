package check

import "slices"

// weightOf says what an event of a task tells of it: a state more than progress, and
// progress more than that the task stands still. It is 0 for other events.
func weightOf(typ string) int {
	switch typ {
	case "task_stalled":
		return 1
	case typeProgress:
		return 2
	case "task_queued", "task_started", "task_completed", "task_failed", "task_canceled", "task_deleted":
		return 3
	}
	return 0
}

// outweighed reports whether a session with a compact replay need not have an event: one of
// the same task that says as much came later in the session, or was still to come when it
// ended.
func (s *subject) outweighed(n *session, sp span, r *row) bool {
	weight := weightOf(r.typ)
	if !hasTrait(n.traits, "compact") || r.task == "" || weight == 0 {
		return false
	}
	task := taskOf{r.user, r.task}
	left := slices.ContainsFunc(s.weighty(n)[task], func(it item) bool { return it.id > r.id && weightOf(it.typ) >= weight }) ||
		slices.ContainsFunc(s.log, func(later *row) bool {
			return later.id > sp.to && weightOf(later.typ) >= weight && task == taskOf{later.user, later.task}
		})
	if left {
		s.figures["left_out_as_outweighed"]++
	}
	return left
}

// weighty returns the events of each task in a session.
func (s *subject) weighty(n *session) map[taskOf][]item {
	if n.weighty == nil {
		n.weighty = make(map[taskOf][]item)
		for _, it := range n.items {
			if rows := s.byID[it.id]; it.kind == itemEvent && weightOf(it.typ) > 0 && len(rows) > 0 {
				task := taskOf{rows[0].user, rows[0].task}
				n.weighty[task] = append(n.weighty[task], it)
			}
		}
	}
	return n.weighty
}
