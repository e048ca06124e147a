package taskfeed

import (
	"encoding/json"
	"log/slog"
	"time"
)

// Type says what happened. Types that begin with "task_" belong to tasks and
// those that begin with "feed_" to the protocol; an app's own notifications use
// any other name that is Valid.
type Type string

// maxType is the greatest length of a type.
const maxType = 64

// Valid reports whether an event can have the type: an ASCII letter, then ASCII letters,
// digits and _ . : -, at most 64 characters.
func (t Type) Valid() bool {
	for i, c := range []byte(t) {
		letter := c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '_' && c != '.' && c != ':' && c != '-') {
			return false
		}
	}
	return t != "" && len(t) <= maxType
}

// Types of events that belong to a task. All but TypeTaskProgress, TypeTaskDeleted and
// TypeTaskStalled carry the whole visible state of the task: kind, progress,
// message, and result or error where there is one.
const (
	// TypeTaskQueued: the row appeared as queued or went back to queued.
	TypeTaskQueued Type = "task_queued"
	// TypeTaskStarted: the status became running.
	TypeTaskStarted Type = "task_started"
	// TypeTaskProgress: progress or message changed and the status did not. It
	// carries progress and, unless it is null, message.
	TypeTaskProgress Type = "task_progress"
	// TypeTaskCompleted: the status became completed. It carries result.
	TypeTaskCompleted Type = "task_completed"
	// TypeTaskFailed: the status became failed. It carries error.
	TypeTaskFailed Type = "task_failed"
	// TypeTaskCanceled: the status became canceled.
	TypeTaskCanceled Type = "task_canceled"
	// TypeTaskDeleted: the row is gone, or belongs to another user now.
	TypeTaskDeleted Type = "task_deleted"
	// TypeTaskStalled: the task runs and has not changed for as long as the server was
	// told to wait. It carries kind, progress, and since, the time of the last change,
	// and has the version of that change.
	TypeTaskStalled Type = "task_stalled"
)

// TaskTypes lists every type that a task's events may have.
var TaskTypes = []Type{TypeTaskQueued, TypeTaskStarted, TypeTaskProgress,
	TypeTaskCompleted, TypeTaskFailed, TypeTaskCanceled, TypeTaskDeleted, TypeTaskStalled}

// Weights of events of tasks.
const (
	WeightNone     = iota // it belongs to no task
	WeightStalled         // it changes nothing that is known of the task
	WeightProgress        // it changes a part of the task
	WeightState           // it says all that can be seen of the task
)

// Weight says which events of a task no longer matter once an event of the type has come:
// all earlier ones that do not weigh more. An event of no task always matters.
func (t Type) Weight() int {
	switch t {
	case TypeTaskStalled:
		return WeightStalled
	case TypeTaskProgress:
		return WeightProgress
	case TypeTaskQueued, TypeTaskStarted, TypeTaskCompleted, TypeTaskFailed, TypeTaskCanceled, TypeTaskDeleted:
		return WeightState
	}
	return WeightNone
}

// MaxDataBytes is the most that an event's data may hold as JSON text. Capture
// replaces larger fields of a task's event by null and names them in the field
// "truncated"; taskfeed.notify and taskfeed.broadcast refuse larger data.
const MaxDataBytes = 256 << 10

// Event is the immutable record of one change. ID is its place in the log.
type Event struct {
	ID      Cursor
	UserID  string // empty: for every user
	TaskID  string // empty: belongs to no task
	Type    Type
	Version int64           // of the task; 0 when the event belongs to none
	Data    json.RawMessage // a JSON object: the fields particular to the type
	// Timestamp is when the change was captured, by the database's clock. It
	// orders nothing.
	Timestamp time.Time
}

// Broadcast reports whether the event is for every user.
func (e *Event) Broadcast() bool { return e.UserID == "" }

// LogValue names the event in a log line without its data.
func (e *Event) LogValue() slog.Value {
	return slog.GroupValue(slog.Int64("id", int64(e.ID)), slog.String("type", string(e.Type)), slog.String("task_id", e.TaskID))
}
