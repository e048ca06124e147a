package check

import (
	"encoding/json"
	"strconv"
	"strings"
)

// The mapping of the attached table of a run (package verify, attached.go), written a
// second time, and what docs/ATTACH.md says of it: which events a change of a row makes,
// given what users were told of the row before.

const (
	jobPrefix = "jobs:" // of the ids of tasks
	jobSource = "jobs"
)

// jobStatuses has no "hidden", which the map excludes, and no "strange", which it does
// not name: such rows change nothing.
var jobStatuses = map[string]string{"pending": "queued", "retrying": "queued", "working": "running",
	"done": "completed", "finished": "completed", "error": "failed", "stopped": "canceled"}

// mappedColumns are the columns that the mapping reads. Where none of them changed,
// nothing is captured.
var mappedColumns = []string{"id", "customer", "state", "done", "total", "note", "job_type", "failure"}

// folded is a task of the attached table as its owner was told of it. Without an owner
// there is no task.
type folded struct {
	owner   string
	fields  task // status, progress, message, kind, error
	version int64
}

func (f folded) exists() bool { return f.owner != "" }

func (f folded) open() bool {
	status := f.fields.text("status")
	return f.exists() && (status == "queued" || status == "running")
}

// foldRow returns what users must be told when a row is written, and the task then.
func foldRow(was folded, row task) ([]expected, folded) {
	status, known := jobStatuses[row.text("state")]
	if !known {
		return nil, was
	}
	if row.text("customer") == "" {
		return foldGone(was, "deleted")
	}
	now := folded{owner: row.text("customer"), version: was.version, fields: task{
		"status": &status, "progress": jobProgress(row, was), "message": row["note"], "kind": row["job_type"]}}
	if failure := row["failure"]; failure != nil && (status == "failed" || status == "canceled") {
		line, _, _ := strings.Cut(strings.TrimSpace(*failure), "\n")
		now.fields["error"] = &line
	}
	return become(was, now)
}

// jobProgress is the percentage that is done.
func jobProgress(row task, was folded) *string {
	if total := row.number("total"); total > 0 && row["done"] != nil {
		percent := strconv.FormatInt(min(max((200*row.number("done")+total)/(2*total), 0), 100), 10)
		return &percent
	}
	if was.exists() {
		return was.fields["progress"]
	}
	zero := "0"
	return &zero
}

// become returns the events of the difference between two states of a task.
func become(was, now folded) ([]expected, folded) {
	same := was.exists() && was.fields.same(now.fields, "status", "kind", "error")
	moved := !was.exists() || !was.fields.same(now.fields, "progress", "message")
	if same && !moved && was.owner == now.owner {
		return nil, was
	}
	now.version++
	var events []expected
	if was.exists() && was.owner != now.owner {
		events = append(events, expected{user: was.owner, typ: typeDeleted, version: now.version, data: emptyData})
	}
	e := expected{user: now.owner, typ: now.fields.statusType(), version: now.version, data: now.fields.state()}
	if same && was.owner == now.owner {
		e.typ, e.data = "task_progress", now.fields.step()
	}
	return append(events, e), now
}

// foldDelete returns what users must be told when a row is deleted.
func foldDelete(was folded) ([]expected, folded) {
	switch was.fields.text("status") {
	case "queued":
		return foldGone(was, "canceled")
	case "running":
		return foldGone(was, "deleted")
	}
	return nil, was
}

func foldGone(was folded, means string) ([]expected, folded) {
	if !was.exists() {
		return nil, was
	}
	if means == "deleted" {
		return []expected{{user: was.owner, typ: typeDeleted, version: was.version + 1, data: emptyData}}, folded{}
	}
	now := was
	now.fields = task{"status": &means}
	for column, v := range was.fields {
		if column != "status" {
			now.fields[column] = v
		}
	}
	return become(was, now)
}

// resetKey is the key of the event that tells a user of changes that cannot be read.
func resetKey(data map[string]json.RawMessage) string { return "feed_reset " + string(data["cursor"]) }
