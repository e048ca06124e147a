package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/taskfeed/taskfeed"
)

// Message is what a user tells the app; see Feed.Send.
type Message struct {
	// Topic must be one that the server takes.
	Topic string
	// TaskID is the task that it is about, which the user must see. Default none.
	TaskID string
	// Data is encoded as a JSON object of at most 16 KiB. Default an empty one.
	Data any
	// Ref is the message's own id, 1 to 64 bytes, unique for the user. A program that may
	// die before Send returns keeps it with the message and sends it again: the app gets
	// the message once. Default a random one.
	Ref string
}

// ErrEnded: Run ended before the server answered a message, which may be stored all the
// same.
var ErrEnded = errors.New("client: the feed ended before the message was answered")

// Send sends the app a message over the feed's connection, and returns its id once the
// server has stored it. It waits for Run to connect, and sends the message again over the
// next connection until the server answers, so the app gets it once. It may be called
// from the handler and concurrently.
//
// A refusal is a *taskfeed.Error with the server's code, such as
// taskfeed.CodeTopicNotAllowed or CodeInboxFull; then the message is not stored. After
// ErrEnded or the error of ctx it may be stored. A server that does not know messages
// never answers.
func (f *Feed) Send(ctx context.Context, m Message) (id int64, err error) {
	o, err := newOutgoing(m)
	if err != nil {
		return 0, err
	}
	f.outbox.add(o)
	defer f.outbox.remove(o)
	select {
	case a := <-o.answered:
		return a.id, a.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// outgoing is a message that is not answered yet.
type outgoing struct {
	ref      string
	text     []byte
	answered chan answer // has room for one

	// Guarded by the outbox.
	on  *session  // it was sent over this connection
	due time.Time // not to be sent before
}

type answer struct {
	id  int64
	err error
}

func newOutgoing(m Message) (*outgoing, error) {
	if m.Ref == "" {
		m.Ref = rand.Text()
	}
	if !taskfeed.ValidID(m.Ref) || len(m.Ref) > taskfeed.MaxRefBytes {
		return nil, &taskfeed.Error{Code: taskfeed.CodeBadRequest, Message: fmt.Sprintf("the ref of a message must be 1 to %d bytes without control characters", taskfeed.MaxRefBytes)}
	}
	var data []byte
	if m.Data != nil {
		var err error
		if data, err = json.Marshal(m.Data); err != nil {
			return nil, fmt.Errorf("client: encode the data of a message: %w", err)
		}
	}
	if len(data) > taskfeed.MaxMessageDataBytes {
		return nil, &taskfeed.Error{Code: taskfeed.CodeTooLarge, Message: fmt.Sprintf("the data of a message is longer than %d bytes", taskfeed.MaxMessageDataBytes)}
	}
	text, err := json.Marshal(struct {
		Type   taskfeed.Type   `json:"type"`
		Ref    string          `json:"ref"`
		Topic  string          `json:"topic"`
		TaskID string          `json:"task_id,omitempty"`
		Data   json.RawMessage `json:"data,omitempty"`
	}{taskfeed.TypeMessage, m.Ref, m.Topic, m.TaskID, data})
	return &outgoing{ref: m.Ref, text: text, answered: make(chan answer, 1)}, err
}

// outbox has the messages that are not answered yet, in the order in which they came.
type outbox struct {
	mu       sync.Mutex
	messages []*outgoing
	changed  chan struct{} // has room for one: a message is to be sent
}

func (b *outbox) add(o *outgoing) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages = append(b.messages, o)
	b.wake()
}

func (b *outbox) wake() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

func (b *outbox) remove(o *outgoing) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages = slices.DeleteFunc(b.messages, func(other *outgoing) bool { return other == o })
}

// fail answers all messages with an error.
func (b *outbox) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range b.messages {
		o.answered <- answer{err: err}
	}
	b.messages = nil
}

// next returns the first message to send over the connection now, or else how long
// until one may be sent, 0 when there is none.
func (b *outbox) next(s *session) (o *outgoing, wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range b.messages {
		if o.on == s {
			continue
		}
		if left := time.Until(o.due); left > 0 {
			if wait == 0 || left < wait {
				wait = left
			}
			continue
		}
		o.on = s
		return o, 0
	}
	return nil, wait
}

// answer handles the server's answer to a message.
func (b *outbox) answer(a *serverAnswer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := slices.IndexFunc(b.messages, func(o *outgoing) bool { return o.ref == a.Ref })
	if at < 0 {
		return // nobody waits for it any more
	}
	o := b.messages[at]
	if a.Type == taskfeed.TypeMessageNack && a.RetryAfter > 0 {
		o.on, o.due = nil, time.Now().Add(time.Duration(a.RetryAfter)*time.Second)
		b.wake()
		return
	}
	b.messages = slices.Delete(b.messages, at, at+1)
	if a.Type == taskfeed.TypeMessageNack {
		o.answered <- answer{err: &taskfeed.Error{Code: a.Code, Message: a.Detail}}
		return
	}
	o.answered <- answer{id: a.ID}
}

// serverAnswer is a frame message_ack or message_nack.
type serverAnswer struct {
	Type       taskfeed.Type `json:"type"`
	Ref        string        `json:"ref"`
	ID         int64         `json:"id"`
	Code       taskfeed.Code `json:"code"`
	Detail     string        `json:"detail"`
	RetryAfter int           `json:"retry_after"` // seconds
	Timestamp  string        `json:"timestamp"`   // events of an app have it, answers do not
}

// answerMark is in every answer to a message and in few other frames.
var answerMark = []byte(`"message_`)

// readAnswer returns nil for a text that is no answer to a message.
func readAnswer(text []byte) *serverAnswer {
	if !bytes.Contains(text, answerMark) {
		return nil
	}
	var a serverAnswer
	if json.Unmarshal(text, &a) != nil || a.Type != taskfeed.TypeMessageAck && a.Type != taskfeed.TypeMessageNack || a.Timestamp != "" {
		return nil
	}
	return &a
}

// deliver sends the messages that are not answered, over and again on each connection, and
// the read mark.
func (s *session) deliver(ctx context.Context) {
	box := &s.run.outbox
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		o, wait := box.next(s)
		if o != nil {
			if s.write(o.text) != nil {
				return // the next read fails too
			}
			continue
		}
		mark, later := s.run.reading.next(s)
		if mark != nil {
			if s.write(mark) != nil {
				return
			}
			continue
		}
		wait = sooner(wait, later)
		timer.Stop()
		if wait > 0 {
			timer.Reset(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-box.changed:
		case <-timer.C:
		}
	}
}

// write sends one text. Messages and new tokens may be sent at the same time.
func (s *session) write(text []byte) error {
	s.writer.Lock()
	defer s.writer.Unlock()
	_ = s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	return s.conn.WriteMessage(websocket.TextMessage, text)
}
