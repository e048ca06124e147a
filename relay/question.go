package relay

import (
	"time"

	"github.com/taskfeed/taskfeed"
)

// topic is what a question asks for.
type topic byte

const (
	askAfter       topic = 1 + iota // a page of the log
	askState                        // where the log ends
	askCommands                     // commands of admins
	askLastCommand                  // the id of the last one
	askErasures                     // a number that changes when events are erased
)

// question is what a gateway asks a core.
type question struct {
	topic  topic
	filter taskfeed.Filter
	after  int64
	limit  int
}

func (q *question) encode() []byte {
	e := newEncoder(kindQuestion)
	e.b = append(e.b, byte(q.topic))
	e.int(q.after)
	e.uint(uint64(q.limit))
	f := &q.filter
	e.text(f.UserID)
	e.text(f.TaskID)
	e.bool(f.All)
	e.uint(uint64(len(f.Feeds)))
	for _, id := range f.Feeds {
		e.text(id)
	}
	e.uint(uint64(len(f.Types)))
	for _, t := range f.Types {
		e.text(string(t))
	}
	if f.Compact { // a core of the version before does not read it, and refuses the question
		e.bool(true)
	}
	return e.b
}

const (
	maxLimit   = 10_000
	maxStrings = 10_000
)

func decodeQuestion(message []byte) (q question, err error) {
	k, d, err := open(message)
	if err != nil {
		return q, err
	}
	if k != kindQuestion {
		return q, errMalformed
	}
	if b := d.take(1); len(b) == 1 {
		q.topic = topic(b[0])
	}
	q.after, q.limit = d.int(), int(d.upTo(maxLimit))
	q.filter = taskfeed.Filter{UserID: d.text(), TaskID: d.text(), All: d.bool()}
	for n := d.upTo(maxStrings); n > 0 && !d.failed; n-- {
		q.filter.Feeds = append(q.filter.Feeds, d.text())
	}
	for n := d.upTo(maxStrings); n > 0 && !d.failed; n-- {
		q.filter.Types = append(q.filter.Types, taskfeed.Type(d.text()))
	}
	if len(d.b) > 0 {
		q.filter.Compact = d.bool()
	}
	if q.after < 0 || q.topic == askAfter && (q.limit == 0 || q.filter.UserID == "" && !q.filter.All) {
		return question{}, errMalformed
	}
	return q, d.end()
}

// State is where a log ends.
type State struct {
	Lineage Lineage
	// Last is an id up to which the log is final: no event at or below it will be added.
	Last taskfeed.Cursor
	// Head is an id that no event exceeds.
	Head taskfeed.Cursor
}

// Page is a page of the log.
type Page struct {
	Events []taskfeed.Event
	// Through and More are what hub.Log's After returns.
	Through taskfeed.Cursor
	More    bool
}

// answer is what a core says. With a code it is an error.
type answer struct {
	code     taskfeed.Code
	message  string
	state    State
	recent   taskfeed.Cursor // from where on the core has recent events in memory
	page     Page
	number   int64
	commands []taskfeed.Command
}

func (a *answer) encode(compress bool) []byte {
	e := newEncoder(kindAnswer)
	var body encoder
	body.text(string(a.code))
	body.text(a.message)
	body.lineage(a.state.Lineage)
	body.id(a.state.Last)
	body.id(a.state.Head)
	body.id(a.recent)
	body.int(a.number)
	body.id(a.page.Through)
	body.bool(a.page.More)
	body.uint(uint64(len(a.page.Events)))
	for i := range a.page.Events {
		body.event(&a.page.Events[i])
	}
	body.uint(uint64(len(a.commands)))
	for _, c := range a.commands {
		body.int(c.ID)
		body.text(string(c.Kind))
		body.text(c.Argument)
		body.int(c.CreatedAt.UnixMicro())
	}
	return e.body(body.b, compress)
}

func (e *encoder) event(v *taskfeed.Event) {
	e.id(v.ID)
	e.text(v.UserID)
	e.text(v.TaskID)
	e.text(string(v.Type))
	e.int(v.Version)
	e.int(v.Timestamp.UnixMicro())
	e.bytes(v.Data)
}

func (d *decoder) event() taskfeed.Event {
	return taskfeed.Event{ID: d.id(), UserID: d.text(), TaskID: d.text(), Type: taskfeed.Type(d.text()),
		Version: d.int(), Timestamp: time.UnixMicro(d.int()), Data: d.bytes()}
}

func sizeOfEvent(e *taskfeed.Event) int {
	return len(e.UserID) + len(e.TaskID) + len(e.Type) + len(e.Data) + frameOverhead
}

// cut shortens a page to at most limit bytes, or to one event.
func (p *Page) cut(limit int) {
	size := 0
	for i := range p.Events {
		if size += sizeOfEvent(&p.Events[i]); i > 0 && size > limit {
			p.Events, p.More, p.Through = p.Events[:i], true, p.Events[i-1].ID
			return
		}
	}
}

func decodeAnswer(message []byte) (a answer, err error) {
	k, d, err := open(message)
	if err != nil {
		return a, err
	}
	if k != kindAnswer {
		return a, errMalformed
	}
	d.body()
	a = answer{code: taskfeed.Code(d.text()), message: d.text(),
		state: State{Lineage: d.lineage(), Last: d.id(), Head: d.id()}, recent: d.id(), number: d.int()}
	a.page.Through, a.page.More = d.id(), d.bool()
	last := taskfeed.Cursor(0)
	for n := d.upTo(maxLimit); n > 0 && !d.failed; n-- {
		e := d.event()
		if e.ID <= last {
			return answer{}, errMalformed
		}
		a.page.Events, last = append(a.page.Events, e), e.ID
	}
	for n := d.upTo(maxLimit); n > 0 && !d.failed; n-- {
		a.commands = append(a.commands, taskfeed.Command{ID: d.int(), Kind: taskfeed.CommandKind(d.text()), Argument: d.text(), CreatedAt: time.UnixMicro(d.int())})
	}
	return a, d.end()
}
