package taskfeed

import (
	"encoding/json"
	"strings"
	"time"
)

// Status is the state of a task in its life.
type Status string

// The statuses. Any status may follow any other: a failed task that is queued
// again is a new attempt.
const (
	StatusQueued    Status = "queued"
	StatusRunning   Status = "running"
	StatusCompleted Status = "completed"
	StatusFailed    Status = "failed"
	StatusCanceled  Status = "canceled"
)

// Statuses lists every status in the order of a task's life.
var Statuses = []Status{StatusQueued, StatusRunning, StatusCompleted, StatusFailed, StatusCanceled}

// MaxIDBytes bounds the id of a user or of a task, in bytes of UTF-8.
const MaxIDBytes = 255

// ValidID reports whether the schema accepts a text as the id of a user or of a task.
// The text must be valid UTF-8.
func ValidID(id string) bool {
	return id != "" && len(id) <= MaxIDBytes && !strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// Task is the current state of a unit of work, from its row. Version grows by one with
// each change that a user can see. An absent Kind, Message, Result
// or Error is empty, unless Truncated names it: lists leave out what is large.
type Task struct {
	ID        string          `json:"id"`
	UserID    string          `json:"user_id"`
	Kind      string          `json:"kind,omitempty"`
	Status    Status          `json:"status"`
	Progress  int             `json:"progress"`
	Message   string          `json:"message,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     string          `json:"error,omitempty"`
	Version   int64           `json:"version"`
	CreatedAt time.Time       `json:"created_at"`
	UpdatedAt time.Time       `json:"updated_at"`
	Truncated []string        `json:"truncated,omitempty"` // names of the fields that were left out
	Source    string          `json:"source,omitempty"`    // the attached table whose row it is; empty: the app's own
}
