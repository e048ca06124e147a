package check

import (
	"fmt"
	"math"
	"slices"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// checkOrder is P5.
func (s *subject) checkOrder() {
	s.checkTaskOrder()
	s.checkRealTime()
}

// checkTaskOrder compares the order of each task's events with the order of their
// commits.
func (s *subject) checkTaskOrder() {
	last := make(map[string]*row)
	for _, r := range s.log {
		if r.lost || r.means == nil || r.task == "" {
			continue
		}
		if before := last[r.task]; before != nil && before.means.place > r.means.place {
			s.wrong(Violation{Property: "P5", ID: r.id, Key: r.key, Op: r.means.op, User: r.user, T: s.doneAt(r.means.op),
				What: fmt.Sprintf("%s committed before %s and has id %d, which is after id %d", r.key, before.key, r.id, before.id)})
		}
		last[r.task] = r
	}
}

// checkRealTime finds a write that ended before another began and has the greater id.
// It goes down the ids and compares each write with the earliest end so far.
// checkTaskOrder covers two events of one task.
func (s *subject) checkRealTime() {
	earliest, holder := int64(math.MaxInt64), (*row)(nil)
	for _, r := range slices.Backward(s.log) {
		if r.lost || r.means == nil {
			continue
		}
		w := s.writes[r.means.op]
		if w == nil || w.Outcome != history.OK {
			continue
		}
		if earliest < w.Begin && (r.task == "" || r.task != holder.task) {
			s.wrong(Violation{Property: "P5", ID: holder.id, Key: holder.key, Op: holder.means.op, User: holder.user, T: w.Begin,
				What: fmt.Sprintf("%s was done before %s began and has id %d, which is after id %d", holder.key, r.key, holder.id, r.id)})
		}
		if w.End < earliest {
			earliest, holder = w.End, r
		}
	}
}
