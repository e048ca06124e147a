package check

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// row is one row that has ever been in the event log.
type row struct {
	id      int64
	key     string
	version int64  // of the task; 0 for an event without one
	place   int    // in commit order; 0: it is known from the dump of the log only
	user    string // empty: for every user
	task    string
	typ     string
	data    uint64
	lost    bool      // a fork has undone it
	means   *expected // the event that it is; nil: none that committed
}

func newRow(id int64, user, taskID, typ string, version int64, data string) *row {
	var fields map[string]json.RawMessage
	_ = json.Unmarshal([]byte(data), &fields) // data that is not an object has no op
	return &row{id: id, version: version, key: keyOf(taskID, version, typ, fields), user: user, task: taskID, typ: typ, data: hashJSON([]byte(data))}
}

// same reports whether two rows are the same event.
func (r *row) same(o *row) bool {
	return r.key == o.key && r.user == o.user && r.typ == o.typ && r.data == o.data
}

// readTruth derives the expected events and collects the rows of the log.
func (s *subject) readTruth() {
	lost := s.lostCommits()
	tasks := tasksNow{kept: make(map[string]task), lost: make(map[string]task)}
	var highest int64 // highest change id of the commits so far
	place := 0
	for i, t := range s.Truth {
		if t.Commit == nil {
			clear(tasks.lost)
			s.jobSteps = append(s.jobSteps, jobStep{})
			continue
		}
		if t.Commit.Change > 0 && t.Commit.Change < highest {
			s.figures["late_commits"]++
		}
		highest = max(highest, t.Commit.Change)
		for _, r := range t.Commit.Rows {
			place++
			if r.Table == "jobs" || r.Table == "marks" {
				s.jobSteps = append(s.jobSteps, jobStep{row: &r, commit: i, place: place, lost: lost[i]})
			}
			s.readRow(r, tasks, place, lost[i])
		}
	}
	if s.Header.Truth == truthOfWriters {
		s.expectWrites()
	}
	for _, e := range s.Events { // with a slot, they are already known from its inserts
		s.addRow(newRow(e.ID, e.User, e.Task, e.Type, e.Version, e.Data))
	}
	slices.SortStableFunc(s.log, func(a, b *row) int { return cmp.Compare(a.id, b.id) })
	s.expectJobs()
	s.figures["events"] = int64(len(s.log))
	s.figures["commits"] = int64(len(s.Truth))
}

// tasksNow are the tasks as of a commit. Rows that a later fork undoes are kept
// separately, and dropped at the fork.
type tasksNow struct{ kept, lost map[string]task }

func (t tasksNow) find(id string) task {
	if row, ok := t.lost[id]; ok {
		return row
	}
	return t.kept[id]
}

func (s *subject) readRow(r history.Row, tasks tasksNow, place int, lost bool) {
	switch {
	case r.Table == "tasks" && s.attachedTask(r, lost):
	case r.Table == "tasks":
		id := value(r, "id")
		after := s.writeTask(r, tasks.find(id), place, lost)
		if lost {
			tasks.lost[id] = after
		} else {
			tasks.kept[id] = after
		}
	case r.Table == "ops":
		s.writeOp(r, place, lost)
	case r.Table == "events" && r.Change == "INSERT":
		c := task(r.Columns)
		e := newRow(c.number("id"), c.text("user_id"), c.text("task_id"), c.text("type"), c.number("version"), c.text("data"))
		e.lost, e.place = lost, place
		s.addRow(e)
	}
}

// lostCommits returns the indexes of the commits that a later fork has undone.
func (s *subject) lostCommits() map[int]bool {
	lost := make(map[int]bool)
	for i, t := range s.Truth {
		if t.Fork == nil {
			continue
		}
		s.figures["forks"]++
		for j, earlier := range s.Truth[:i] {
			if earlier.Commit != nil && earlier.Commit.LSN > t.Fork.LSN && !afterFork(s.Truth[j:i]) {
				lost[j] = true
				s.figures["commits_lost"]++
			}
		}
	}
	return lost
}

// afterFork reports whether the truth contains a fork: positions before it belong to
// another database.
func afterFork(truth []history.Truth) bool {
	return slices.ContainsFunc(truth, func(t history.Truth) bool { return t.Fork != nil })
}

// addRow adds a row of the log unless it is known already, for example because the
// database moved it to another partition.
func (s *subject) addRow(r *row) {
	for _, known := range s.byID[r.id] {
		if known.same(r) {
			known.lost = known.lost && r.lost
			return
		}
	}
	s.byID[r.id] = append(s.byID[r.id], r)
	s.log = append(s.log, r)
}

// checkLog compares the rows of the log with the expected events.
func (s *subject) checkLog() {
	for _, r := range s.log {
		s.matchRow(r)
	}
	for id, rows := range s.byID {
		if len(rows) > 1 {
			s.wrong(Violation{Property: "P9", ID: id, Key: rows[0].key, Op: rows[0].op(),
				What: fmt.Sprintf("id %d was given to %s and to %s", id, rows[0].key, rows[1].key)})
		}
	}
	for _, e := range s.order {
		if !e.inLog && !e.lost {
			s.wrong(Violation{Property: "P2", Key: e.key, Op: e.op, User: e.user, T: s.doneAt(e.op),
				What: fmt.Sprintf("%s of %s committed and is not in the log", e.typ, e.key)})
		}
	}
}

// matchRow finds the event that a row is, and checks its content. A task that was
// deleted and is made again counts its versions from 1 again, so two events may be equal.
func (s *subject) matchRow(r *row) {
	var near *expected // has the key, perhaps with other content
	for _, e := range s.expected[r.key] {
		if e.lost && !r.lost {
			continue
		}
		if near = e; e.user == r.user && e.typ == r.typ && e.data == r.data {
			r.means = e
			if !e.inLog {
				break
			}
		}
	}
	v := Violation{ID: r.id, Key: r.key, User: r.user, Op: r.op()}
	switch {
	case near == nil:
		v.Property, v.What = "P1", fmt.Sprintf("id %d of the log, %s of %s, belongs to nothing that committed", r.id, r.typ, r.key)
		s.wrong(v)
		return
	case r.means == nil:
		r.means = near
		v.Property, v.Op, v.What = "P7", near.op, fmt.Sprintf("id %d of the log, %s of %s for %q, is not what was written: %s for %q",
			r.id, r.typ, r.key, r.user, near.typ, near.user)
		s.wrong(v)
	}
	if r.lost {
		return
	}
	if r.means.inLog {
		v.Property, v.Op, v.What = "P3", r.means.op, fmt.Sprintf("%s of %s is in the log twice, once with id %d", r.typ, r.key, r.id)
		s.wrong(v)
	}
	r.means.inLog = true
}

func (r *row) op() string {
	if r.means == nil {
		return ""
	}
	return r.means.op
}

// doneAt returns when a write ended, 0 when that is unknown.
func (s *subject) doneAt(op string) int64 {
	if w := s.writes[op]; w != nil {
		return w.End
	}
	return 0
}

// begins finds the first event of a user that was written after a moment.
type begins struct {
	at    []int64 // when writes began, ascending
	least []int64 // the lowest id among the events of that write and later ones
}

func (b begins) firstAfter(t int64) (id int64, ok bool) {
	i, _ := slices.BinarySearch(b.at, t+1)
	if i == len(b.at) {
		return 0, false
	}
	return b.least[i], true
}

// indexFeeds collects the rows of each user's feed. It needs the times of their writes,
// and finds those by the op; checkLog matches rows later.
func (s *subject) indexFeeds() {
	for _, u := range s.Header.Users {
		for _, r := range s.log {
			if !r.lost && (r.user == "" || u.Sees(r.user)) {
				s.byUser[u.ID] = append(s.byUser[u.ID], r)
			}
		}
		s.begins[u.ID] = s.indexBegins(s.byUser[u.ID])
	}
}

func (s *subject) indexBegins(rows []*row) (b begins) {
	type entry struct{ at, id int64 }
	var entries []entry
	for _, r := range rows {
		if w := s.writeOf(r); w != nil {
			entries = append(entries, entry{w.Begin, r.id})
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.at, b.at) })
	b.at, b.least = make([]int64, len(entries)), make([]int64, len(entries))
	for i, e := range slices.Backward(entries) {
		b.at[i], b.least[i] = e.at, e.id
		if i+1 < len(entries) {
			b.least[i] = min(e.id, b.least[i+1])
		}
	}
	return b
}

// writeOf returns the write that caused an event, nil when none is recorded.
func (s *subject) writeOf(r *row) *history.Write {
	for _, e := range s.expected[r.key] {
		if e.data == r.data && e.user == r.user {
			return s.writes[e.op]
		}
	}
	return nil
}
