package feeds

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/wsframe"
)

// Reasons of close frames, each at most 123 bytes.
const (
	reasonForbidden    = "the token belongs to another user"
	reasonFeed         = "the token does not list a feed that this connection asked for"
	reasonExpired      = "the token has expired: connect again with a new one"
	reasonSlow         = "the client is too slow: connect again with your cursor"
	reasonNoPong       = "no pong came in time: connect again with your cursor"
	reasonTooMany      = "too many messages: connect again and send fewer"
	reasonTooBig       = "the message is too big"
	reasonBinary       = "only text messages are read"
	reasonRestart      = "the server is restarting: connect again with your cursor"
	reasonShed         = "the server has too much to do: connect again with your cursor"
	reasonRetryLater   = "the server cannot serve the feed now: connect again with your cursor"
	reasonDisconnected = "an administrator closed this connection"
	reasonInternal     = "internal error: connect again with your cursor"
)

// maxReason is the most that the reason of a close frame may hold.
const maxReason = wsframe.MaxControl - 2

var (
	textPing = []byte("ping")
	textPong = []byte("pong")

	messageMark = []byte(`"message"`) // in every message to the app
)

// messageKind says what a client's text message asks for.
type messageKind int

const (
	messageIgnored messageKind = iota
	messagePing
	messageAuth
	messageRead
	messageToApp
)

// message is a client's text message.
type message struct {
	kind    messageKind
	token   string           // of messageAuth; it may be empty
	through *taskfeed.Cursor // of messageRead; nil when it is no cursor
}

// parseMessage reads a text message. Whatever is not known is ignored.
func parseMessage(b []byte) message {
	if bytes.Equal(b, textPing) {
		return message{kind: messagePing}
	}
	if b = bytes.TrimLeft(b, " \t\r\n"); len(b) == 0 || b[0] != '{' {
		return message{}
	}
	var m struct {
		Type    string          `json:"type"`
		Token   json.RawMessage `json:"token"`
		Through json.RawMessage `json:"through"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		if bytes.Contains(b, messageMark) {
			return message{kind: messageToApp} // it gets an answer that says what is wrong
		}
		return message{}
	}
	switch m.Type {
	case "auth":
		var token string
		if len(m.Token) > 0 && json.Unmarshal(m.Token, &token) != nil {
			return message{}
		}
		return message{kind: messageAuth, token: token}
	case "read":
		return message{kind: messageRead, through: parseMark(m.Through)}
	case string(taskfeed.TypeMessage):
		return message{kind: messageToApp}
	}
	return message{}
}

// parseMark reads a cursor that is a JSON number, nil for anything else.
func parseMark(raw json.RawMessage) *taskfeed.Cursor {
	through, err := taskfeed.ParseCursor(string(raw))
	if err != nil {
		return nil
	}
	return &through
}

// closeFor turns the refusal of a token into a close code and a reason. Any
// other error leads to wsframe.CloseInternal, after which the client connects again.
func closeFor(err error) (int, string) {
	e, ok := errors.AsType[*taskfeed.Error](err)
	if !ok || e.Code != taskfeed.CodeBadToken {
		return wsframe.CloseInternal, reasonInternal
	}
	return taskfeed.CloseBadToken, clip(e.Message)
}

// clip shortens a reason to what a close frame holds.
func clip(reason string) string {
	if len(reason) <= maxReason {
		return reason
	}
	cut := maxReason
	for cut > 0 && reason[cut]&0xc0 == 0x80 { // not inside a code point
		cut--
	}
	return reason[:cut]
}

// codeLabel is the label of a close code in metrics. Codes that only peers send share one
// label, so that peers cannot create any number of them.
func codeLabel(code int) string {
	if code >= 3000 && !ours(code) {
		return "other"
	}
	return strconv.Itoa(code)
}

// ours reports whether the code is one of taskfeed's own.
func ours(code int) bool {
	switch code {
	case taskfeed.CloseBadToken, taskfeed.CloseForbidden, taskfeed.CloseSlow, taskfeed.CloseNoPong, taskfeed.CloseDisconnected, taskfeed.CloseTooMany:
		return true
	}
	return false
}

// closeWith is the error of a reader that a close frame answers.
func closeWith(code int, reason string) error {
	return &wsframe.CloseError{Code: code, Reason: reason}
}
