package inbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/request"
)

// Refusals with a fixed message.
var (
	errOff = &taskfeed.Error{Code: taskfeed.CodeInboxOff,
		Message: "this server takes no messages; TASKFEED_INBOX=on makes it take them"}
	errTopic = &taskfeed.Error{Code: taskfeed.CodeTopicNotAllowed,
		Message: "this server takes no messages of this topic; TASKFEED_INBOX_TOPICS lists those that it takes"}
	errTooLarge = &taskfeed.Error{Code: taskfeed.CodeTooLarge,
		Message: fmt.Sprintf("data is longer than %d bytes; send a reference instead", taskfeed.MaxMessageDataBytes)}
	errRate = &taskfeed.Error{Code: taskfeed.CodeRateLimited,
		Message: "too many messages of this user; send it again later, with the same ref"}
	errBusy = &taskfeed.Error{Code: taskfeed.CodeUnavailable,
		Message: "the server cannot store the message now; send it again later, with the same ref"}
)

func bad(problem string) *taskfeed.Error {
	return &taskfeed.Error{Code: taskfeed.CodeBadRequest, Message: problem}
}

// parse reads a message. It returns what it could read of the ref with an error too.
func parse(raw []byte) (m taskfeed.Message, err *taskfeed.Error) {
	fields, problem := fieldsOf(raw)
	if !utf8.Valid(raw) || problem != nil {
		return m, bad("a message is a JSON object with the texts ref, topic and task_id, and the object data, each once")
	}
	for _, field := range []struct {
		name string
		into *string
	}{{"ref", &m.Ref}, {"topic", &m.Topic}, {"task_id", &m.TaskID}} {
		var ok bool
		if *field.into, ok = textOf(fields[field.name]); !ok {
			return m, bad("ref, topic and task_id are texts, without halves of surrogate pairs")
		}
	}
	m.Data = fields["data"]
	if len(m.Data) == 0 || string(m.Data) == "null" {
		m.Data = json.RawMessage("{}")
	}
	switch {
	case !taskfeed.ValidID(m.Ref) || len(m.Ref) > taskfeed.MaxRefBytes:
		m.Ref = ""
		err = bad(fmt.Sprintf("ref must be 1 to %d bytes without control characters", taskfeed.MaxRefBytes))
	case m.TaskID != "" && !taskfeed.ValidID(m.TaskID):
		err = bad(fmt.Sprintf("task_id must be at most %d bytes without control characters", taskfeed.MaxIDBytes))
	case m.Data[0] != '{':
		err = bad("data must be a JSON object")
	case len(m.Data) > taskfeed.MaxMessageDataBytes:
		err = errTooLarge
	default:
		if problem := objection(m.Data); problem != "" {
			err = bad(problem)
		}
	}
	return m, err
}

// Answer is what became of a message.
type Answer struct {
	Ref   string
	ID    int64 // of the stored message
	Err   *taskfeed.Error
	Retry time.Duration // when to send it again, where Err does not say that it is not stored
}

// Frame returns the answer as a frame.
func (a Answer) Frame() []byte {
	var view any
	if a.Err == nil {
		view = struct {
			Type taskfeed.Type `json:"type"`
			Ref  string        `json:"ref"`
			ID   int64         `json:"id"`
		}{taskfeed.TypeMessageAck, a.Ref, a.ID}
	} else {
		view = struct {
			Type   taskfeed.Type `json:"type"`
			Ref    string        `json:"ref,omitempty"`
			Code   taskfeed.Code `json:"code"`
			Detail string        `json:"detail"`
			Retry  int           `json:"retry_after,omitempty"` // seconds
		}{taskfeed.TypeMessageNack, a.Ref, a.Err.Code, a.Err.Message, a.RetrySeconds()}
	}
	b, _ := request.EncodeJSON(nil, view) // texts and numbers cannot fail
	return bytes.TrimSuffix(b, []byte("\n"))
}

// RetrySeconds is Retry in whole seconds.
func (a Answer) RetrySeconds() int { return int(math.Ceil(a.Retry.Seconds())) }

// CheckTopics refuses topics that no message can have.
func CheckTopics(topics []string) error {
	for _, t := range topics {
		if !taskfeed.Type(t).Valid() {
			return fmt.Errorf("%s is no topic: a letter, then letters, digits and any of %q, 64 characters at most", strings.ToValidUTF8(t, "?"), "_.:-")
		}
	}
	return nil
}
