package check

import (
	"encoding/json"
	"strings"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// On a database of the user's own there is no slot. The truth is then what the writers
// know: a confirmed write must be in the log, a write with an unknown outcome may be.
// The order of commits and the content of rows are taken from the log itself.

// truthOfWriters is the value of Header.Truth in that case.
const truthOfWriters = "writers"

// expectWrites derives the expected events from the writes.
func (s *subject) expectWrites() {
	seen := make(map[string]bool)
	last := make(map[string]history.Event) // of each task
	takers := s.takers()
	for i, e := range s.Events {
		if e.User == "" { // a broadcast may come from elsewhere
			seen[opOf(e)] = true
			s.expectRow(e, opOf(e), i)
			continue
		}
		last[e.Task] = e
		op := opOf(e)
		if e.Type == typeDeleted {
			op = takers[version{e.Task, e.Version}]
		}
		if w := s.writes[op]; w != nil && w.Outcome != history.Fail && (e.Type == typeDeleted || w.User == e.User) {
			seen[op] = true
			s.expectRow(e, op, i)
		}
	}
	for i := range s.Writes {
		w := &s.Writes[i]
		there := seen[w.Op]
		if w.Action == "delete" {
			there = last[w.Task].Type == typeDeleted
		}
		if w.Outcome == history.OK && !there {
			s.expect(expected{op: w.Op, user: w.User, typ: w.Action, place: len(s.Events) + i})
		}
	}
}

// version is one version of a task.
type version struct {
	task   string
	number int64
}

// takers returns the writes that cause each task_deleted: a change of owner, whose event
// for the new owner has the same version, or a deletion.
func (s *subject) takers() map[version]string {
	takers := make(map[version]string)
	for _, e := range s.Events {
		if e.Type != typeDeleted {
			takers[version{e.Task, e.Version}] = opOf(e)
		}
	}
	for _, e := range s.Events {
		v := version{e.Task, e.Version}
		if w := s.deletes[e.Task]; e.Type == typeDeleted && takers[v] == "" && w != nil {
			takers[v] = w.Op
		}
	}
	return takers
}

// expectRow expects a row of the log exactly as it is.
func (s *subject) expectRow(e history.Event, op string, place int) {
	r := newRow(e.ID, e.User, e.Task, e.Type, e.Version, e.Data)
	one := expected{key: r.key, op: op, user: r.user, task: r.task, typ: r.typ, data: r.data, version: e.Version, place: place}
	s.expected[r.key] = append(s.expected[r.key], &one)
	s.order = append(s.order, &one)
}

// opOf returns the op of an event: the first word of its message, or for an event
// without a task the field op.
func opOf(e history.Event) string {
	var data struct {
		Op      string `json:"op"`
		Message string `json:"message"`
	}
	_ = json.Unmarshal([]byte(e.Data), &data) // without an op it matches no write
	if e.Task == "" {
		return data.Op
	}
	op, _, _ := strings.Cut(data.Message, " ")
	return op
}
