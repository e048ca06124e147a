// Package ssetest offers clients of server-sent events to tests: [Parser], which
// reads a stream as the HTML standard says (section 9.2.6), and [Client], which
// connects like a browser's EventSource and comes back with its last id.
//
// Every wait is bounded by [Patience] and failures end the test, so the methods
// of a client must be called from the test's own goroutine.
package ssetest

import (
	"strconv"
	"strings"
	"time"
)

// Event is one event that a browser would dispatch.
type Event struct {
	Type string // "message" when the stream does not say
	Data string
	ID   string // the last id, which need not be the event's own
}

// Parser reads a stream in pieces of any size. Its zero value is ready. It is
// for one goroutine.
type Parser struct {
	// LastID is the id that a browser would come back with.
	LastID string
	// Retry is the wait that the stream asked for last; 0 when it did not.
	Retry time.Duration
	// Comments counts the comments.
	Comments int
	// Silence is after how long a silence the stream has said a comment comes; 0
	// when it has not said it.
	Silence time.Duration

	line      []byte
	begun     bool // the byte order mark, if any, is over
	afterCR   bool
	data      strings.Builder
	hasData   bool
	eventType string
	idBuffer  string
	events    []Event
}

const byteOrderMark = "\ufeff"

// Write implements io.Writer. It never fails.
func (p *Parser) Write(b []byte) (int, error) {
	for _, c := range b {
		switch {
		case c == '\n' && p.afterCR: // the other half of CRLF
			p.afterCR = false
		case c == '\n' || c == '\r':
			p.afterCR = c == '\r'
			p.endLine()
		default:
			p.afterCR = false
			p.line = append(p.line, c)
		}
	}
	return len(b), nil
}

func (p *Parser) endLine() {
	line := strings.ToValidUTF8(string(p.line), "\ufffd")
	p.line = p.line[:0]
	if !p.begun {
		line, p.begun = strings.TrimPrefix(line, byteOrderMark), true
	}
	switch {
	case line == "":
		p.dispatch()
	case line[0] == ':':
		p.Comments++
		if ms, found := strings.CutPrefix(line, ": silence "); found {
			n, _ := strconv.Atoi(ms) // 0: not said
			p.Silence = time.Duration(n) * time.Millisecond
		}
	default:
		name, value, _ := strings.Cut(line, ":")
		p.field(name, strings.TrimPrefix(value, " "))
	}
}

func (p *Parser) field(name, value string) {
	switch name {
	case "event":
		p.eventType = value
	case "data":
		p.data.WriteString(value + "\n")
		p.hasData = true
	case "id":
		if !strings.Contains(value, "\x00") {
			p.idBuffer = value
		}
	case "retry":
		if ms, err := strconv.ParseUint(value, 10, 32); err == nil && value[0] != '+' {
			p.Retry = time.Duration(ms) * time.Millisecond
		}
	}
}

// dispatch ends a block. One without data only sets the last id.
func (p *Parser) dispatch() {
	p.LastID = p.idBuffer
	if p.hasData {
		e := Event{Type: p.eventType, Data: strings.TrimSuffix(p.data.String(), "\n"), ID: p.LastID}
		if e.Type == "" {
			e.Type = "message"
		}
		p.events = append(p.events, e)
	}
	p.data.Reset()
	p.hasData, p.eventType = false, ""
}

// Next takes the oldest event that has been read and not been taken.
func (p *Parser) Next() (Event, bool) {
	if len(p.events) == 0 {
		return Event{}, false
	}
	e := p.events[0]
	p.events = p.events[1:]
	return e, true
}

// reconnect drops what a lost connection left unfinished.
func (p *Parser) reconnect() {
	*p = Parser{LastID: p.LastID, idBuffer: p.LastID, Retry: p.Retry, Comments: p.Comments, Silence: p.Silence, events: p.events}
}
