package check

import (
	"bytes"
	"encoding/json"
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// expected is an event that must exist according to the rows of the tasks.
type expected struct {
	key     string
	op      string
	user    string // empty: for every user
	task    string
	typ     string
	data    uint64 // hash of the canonical data
	place   int    // of the row that caused it, in commit order
	lost    bool   // a fork has undone it
	inLog   bool   // a row of the log that was not lost matches it
	version int64
}

// keyOf returns the key by which truth, log and frames identify an event: task and
// version, or for an event without a task the op in its data.
func keyOf(task string, version int64, typ string, data map[string]json.RawMessage) string {
	if typ == typeReset {
		return resetKey(data)
	}
	if task == "" {
		var op string
		_ = json.Unmarshal(data["op"], &op) // without an op, the key is empty and matches nothing
		return op
	}
	key := task + "@" + strconv.FormatInt(version, 10)
	if typ == typeDeleted {
		key += " deleted"
	}
	return key
}

const (
	typeDeleted = "task_deleted"
	typeReset   = "feed_reset" // as an event of the log
)

// hashJSON hashes a JSON text so that equal values have equal hashes, whatever their
// formatting. Text that is not JSON has the hash of its bytes.
func hashJSON(text []byte) uint64 {
	in := json.NewDecoder(bytes.NewReader(text))
	in.UseNumber()
	var value any
	if in.Decode(&value) == nil {
		if canonical, err := json.Marshal(value); err == nil {
			text = canonical
		}
	}
	sum := fnv.New64a()
	sum.Write(text)
	return sum.Sum64()
}

// task is a row of the tasks as of one commit.
type task map[string]*string

func (t task) text(column string) string {
	if v := t[column]; v != nil {
		return *v
	}
	return ""
}

func (t task) number(column string) int64 {
	n, err := strconv.ParseInt(t.text(column), 10, 64)
	if err != nil {
		return -1 // matches no event
	}
	return n
}

// same reports whether two rows are equal in the columns.
func (t task) same(other task, columns ...string) bool {
	for _, c := range columns {
		if (t[c] == nil) != (other[c] == nil) || t.text(c) != other.text(c) {
			return false
		}
	}
	return true
}

// op is the first word of the message.
func (t task) op() string {
	op, _, _ := strings.Cut(t.text("message"), " ")
	return op
}

// statusType returns the type of the event of the status.
func (t task) statusType() string {
	if status := t.text("status"); status != "running" {
		return "task_" + status
	}
	return "task_started"
}

// state returns the hash of the data of a status event: the whole visible state.
func (t task) state() uint64 {
	data := map[string]any{"progress": json.Number(t.text("progress"))}
	for _, c := range []string{"kind", "message"} {
		if t[c] != nil {
			data[c] = *t[c]
		}
	}
	if t["result"] != nil || t.text("status") == "completed" {
		data["result"] = nil
		if t["result"] != nil {
			data["result"] = json.RawMessage(*t["result"])
		}
	}
	if t["error"] != nil || t.text("status") == "failed" {
		data["error"] = t["error"]
	}
	return hashData(data)
}

// step returns the hash of the data of a progress event.
func (t task) step() uint64 {
	data := map[string]any{"progress": json.Number(t.text("progress"))}
	if t["message"] != nil {
		data["message"] = *t["message"]
	}
	return hashData(data)
}

func hashData(data map[string]any) uint64 {
	text, err := json.Marshal(data)
	if err != nil {
		return 0 // a result that is not JSON matches no event
	}
	return hashJSON(text)
}

var emptyData = hashJSON([]byte("{}"))

// expect adds an event that must exist.
func (s *subject) expect(e expected) {
	e.key = e.task + "@" + strconv.FormatInt(e.version, 10)
	switch {
	case e.task == "":
		e.key = e.op
	case e.typ == typeDeleted:
		e.key += " deleted"
	}
	s.expected[e.key] = append(s.expected[e.key], &e)
	s.order = append(s.order, &e)
}

// attachedTask reports whether a change of a task is one of the attached table, which
// follows from its row, and keeps the task.
func (s *subject) attachedTask(r history.Row, lost bool) bool {
	id := value(r, "id")
	before, known := s.attached[id]
	if !known && r.Columns["source"] == nil {
		return false
	}
	after := task(r.Columns)
	if r.Change == "DELETE" {
		after = nil
	}
	if lost {
		after = before
	}
	s.attached[id] = after
	return true
}

// writeTask derives the events of one change of a task, given the row before it.
func (s *subject) writeTask(r history.Row, before task, place int, lost bool) (after task) {
	if r.Change == "DELETE" {
		e := expected{user: before.text("user_id"), task: value(r, "id"), typ: typeDeleted,
			version: before.number("version") + 1, data: emptyData, place: place, lost: lost}
		if w := s.deletes[e.task]; w != nil {
			e.op = w.Op
		}
		s.expect(e)
		return nil
	}
	after = make(task, len(r.Columns))
	for column, v := range before {
		after[column] = v // the slot omits large values that did not change
	}
	for column, v := range r.Columns {
		after[column] = v
	}
	e := expected{op: after.op(), user: after.text("user_id"), task: after.text("id"), version: after.number("version"), place: place, lost: lost}
	switch {
	case before != nil && before.number("version") == e.version:
		return after // no visible change
	case before != nil && !before.same(after, "user_id"):
		gone := e
		gone.user, gone.typ, gone.data = before.text("user_id"), typeDeleted, emptyData
		s.expect(gone)
		e.typ, e.data = after.statusType(), after.state()
	case before != nil && before.same(after, "status", "kind", "error", "result"):
		e.typ, e.data = "task_progress", after.step()
	default:
		e.typ, e.data = after.statusType(), after.state()
	}
	s.expect(e)
	return after
}

// writeOp adds the event of a row in the table of ops: an event without a task.
func (s *subject) writeOp(r history.Row, place int, lost bool) {
	s.expect(expected{op: value(r, "op"), user: value(r, "user_id"), typ: value(r, "type"),
		data: hashJSON([]byte(value(r, "data"))), place: place, lost: lost})
}

func value(r history.Row, column string) string { return task(r.Columns).text(column) }
