package taskfeed

import (
	"encoding/json"
	"time"
)

// Frames of the way back: a client sends TypeMessage, and the server answers it with one
// of the others.
const (
	TypeMessage     Type = "message"
	TypeMessageAck  Type = "message_ack"
	TypeMessageNack Type = "message_nack"
)

// Limits of a message.
const (
	MaxRefBytes         = 64       // of its ref
	MaxMessageDataBytes = 16 << 10 // of its data, as JSON text
)

// Message is what a user tells the app. The app takes it out of the inbox with
// taskfeed.receive.
type Message struct {
	ID        int64           `json:"id"` // 0 until it is stored
	UserID    string          `json:"user_id"`
	Ref       string          `json:"ref"` // the client's id of it, unique for the user
	Topic     string          `json:"topic"`
	TaskID    string          `json:"task_id,omitempty"` // of the task that it is about
	Data      json.RawMessage `json:"data,omitempty"`    // a JSON object
	CreatedAt time.Time       `json:"created_at"`

	// Feeds are the feeds that the user sees besides their own: the message may be
	// about a task of these too.
	Feeds []string `json:"-"`
}

// InboxLimits bound the messages that wait for the app.
type InboxLimits struct {
	PerUser int // of one user
	Room    int // for new ones of all users
}

// Stored is what became of a message: its id, or why it was not stored.
type Stored struct {
	ID  int64
	Err *Error
}

// MessageQuery selects messages that were sent, newest first.
type MessageQuery struct {
	UserID, TaskID string // empty: of all
	Before         int64  // only those with lower ids; 0: all
	Limit          int
}

// SentMessage is a message as a list shows it: without its data once the app has received
// it.
type SentMessage struct {
	Message
	Waiting bool `json:"waiting"` // the app has not received it
}
