// Package ssetest provides clients of server-sent events for tests: [Parser], which
// parses a stream as the HTML standard says (section 9.2.6), and [Client], which
// connects like a browser's EventSource and reconnects with its last id.
//
// Every wait is bounded by [patience] and failures end the test, so call the methods of
// a client from the test's own goroutine.
package ssetest

import (
	"strconv"
	"strings"
	"time"
)

// Event is one event that a browser would dispatch.
type Event struct {
	Type string // "message" when the stream names none
	Data string
	ID   string // the last id, which may be of an earlier event
}

// Parser reads a stream in pieces of any size. Its zero value is ready. It is
// for one goroutine.
type Parser struct {
	// LastID is the id with which a browser would reconnect.
	LastID string
	// Retry is the last retry value of the stream; 0 when there was none.
	Retry time.Duration
	// Comments counts the comments.
	Comments int
	// Silence is the interval of comments that the stream has announced; 0 when it
	// has not.
	Silence time.Duration

	line      []byte
	begun     bool // the first line, with any byte order mark, is over
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
			n, _ := strconv.Atoi(ms) // 0: not announced
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

// dispatch ends a block. A block without data only sets the last id.
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

// Next returns the oldest event that it has not returned yet.
func (p *Parser) Next() (Event, bool) {
	if len(p.events) == 0 {
		return Event{}, false
	}
	e := p.events[0]
	p.events = p.events[1:]
	return e, true
}

// reconnect drops the unfinished block of a lost connection.
func (p *Parser) reconnect() {
	*p = Parser{LastID: p.LastID, idBuffer: p.LastID, Retry: p.Retry, Comments: p.Comments, Silence: p.Silence, events: p.events}
}
