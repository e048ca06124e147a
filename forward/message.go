package forward

import (
	"encoding/json"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store"
)

// message is an event as it is sent.
type message struct {
	event  taskfeed.Cursor
	userID string // empty: a broadcast
	kind   taskfeed.Type
	body   []byte
}

// id is the header webhook-id, the same each time the event is sent.
func (m *message) id() string { return "evt_" + m.event.String() }

// newMessage encodes an event as Standard Webhooks recommends. The data is the event's
// frame, as clients see it.
func newMessage(e *taskfeed.Event) *message {
	body := append([]byte(`{"type":`), quoted(string(e.Type))...)
	body = append(body, `,"timestamp":"`...)
	body = e.Timestamp.UTC().AppendFormat(body, "2006-01-02T15:04:05.000000Z")
	body = append(body, '"')
	if !e.Broadcast() {
		body = append(append(body, `,"user_id":`...), quoted(e.UserID)...)
	}
	body = taskfeed.AppendFrame(append(body, `,"data":`...), e)
	return &message{event: e.ID, userID: e.UserID, kind: e.Type, body: append(body, '}')}
}

func quoted(s string) []byte {
	b, _ := json.Marshal(s) // strings can always be encoded
	return b
}

// failure is the message as it is kept after so many tries.
func (m *message) failure(tries int, reason string) store.ForwardFailure {
	return store.ForwardFailure{EventID: m.event, UserID: m.userID, Type: m.kind, Body: string(m.body), Tries: tries, Reason: reason}
}

func messageOf(f store.ForwardFailure) *message {
	return &message{event: f.EventID, userID: f.UserID, kind: f.Type, body: []byte(f.Body)}
}
