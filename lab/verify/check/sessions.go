package check

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// session is one connection of a client, or one attempt to connect.
type session struct {
	client  string
	user    string
	all     bool // it has the events of all users
	traits  string
	number  int
	server  string
	proto   string // plain, after, v1, sse or rest
	after   int64  // the cursor sent; -1 when there was none
	dialed  int64
	opened  int64 // 0: never
	ended   int64 // 0: not before the records ended
	end     history.Client
	items   []item
	answers []history.Client // of the REST API

	weighty map[taskOf][]item // see subject.weighty
}

// item is one message of a session.
type item struct {
	t        int64
	kind     itemKind
	id       int64 // of an event; the cursor of a feed frame, or the read mark
	key      string
	typ      string
	data     uint64
	reason   string  // of a feed_reset
	feed     *string // that the frame names
	owner    *string // that the frame names, for admins
	skipped  bool    // by the client rule
	misnamed bool    // the id line of its stream has another id
	raw      string
}

type itemKind int

const (
	itemEvent itemKind = iota
	itemLive
	itemReset
	itemMark // a stream moved the cursor without an event
	itemRead // how far the user has read
	itemText // not a frame: the answer to a ping
	itemJunk
)

// readSessions splits the records of clients into sessions.
func (s *subject) readSessions() {
	parsed := make(map[frame]item) // clients of one user get the same bytes
	for name, records := range s.Clients {
		client, user, traits := name, "", ""
		var now *session
		for _, r := range records {
			switch r.Kind {
			case history.Start:
				user, traits = r.User, r.Traits
			case history.Dial:
				now = &session{client: client, user: user, all: s.users[user].All, traits: traits, number: r.Session, server: r.Server,
					proto: r.Proto, after: -1, dialed: r.T}
				if r.After != nil {
					now.after = *r.After
				}
				s.sessions = append(s.sessions, now)
			default:
				if now != nil {
					now.take(r, parsed)
				}
			}
		}
	}
	slices.SortFunc(s.sessions, func(a, b *session) int { return int(min(max(a.dialed-b.dialed, -1), 1)) })
	s.countSessions()
}

// frame is a message of a session.
type frame struct {
	text string
	all  bool // the session has the events of all users, and its frames name them
}

func (n *session) take(r history.Client, parsed map[frame]item) {
	switch r.Kind {
	case history.Open:
		n.opened = r.T
	case history.Frame:
		f := frame{r.Text, n.all}
		it, ok := parsed[f]
		if !ok {
			it = parseItem(f)
			parsed[f] = it
		}
		it.t, it.skipped = r.T, r.Skipped
		if r.After != nil && *r.After != it.id {
			it.misnamed = true
		}
		n.items = append(n.items, it)
	case history.Mark:
		n.items = append(n.items, item{t: r.T, kind: itemMark, id: *r.After, raw: fmt.Sprintf("id: %d", *r.After)})
	case history.Answer:
		n.answers = append(n.answers, r)
	default:
		if n.ended == 0 {
			n.ended, n.end = r.T, r
		}
	}
}

// parseItem parses a message without taskfeed's own parser, whose mistakes it would
// share.
func parseItem(f frame) item {
	text := f.text
	it := item{raw: text, kind: itemJunk}
	if text == "pong" {
		it.kind = itemText
		return it
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &fields) != nil {
		return it
	}
	var head struct {
		ID      int64   `json:"id"`
		Type    string  `json:"type"`
		Task    string  `json:"task_id"`
		Version int64   `json:"version"`
		Cursor  int64   `json:"cursor"`
		Through int64   `json:"through"`
		Reason  string  `json:"reason"`
		Feed    *string `json:"feed"`
		User    *string `json:"user_id"`
	}
	if json.Unmarshal([]byte(text), &head) != nil {
		return it
	}
	switch it.typ = head.Type; {
	case head.Type == "feed_live":
		it.kind, it.id = itemLive, head.Cursor
	case head.Type == "feed_read":
		it.kind, it.id = itemRead, head.Through
	case head.Type == typeReset && head.ID == 0:
		it.kind, it.id, it.reason = itemReset, head.Cursor, head.Reason
	case head.ID > 0:
		it.kind, it.id = itemEvent, head.ID
		it.feed = head.Feed
		for _, own := range []string{"id", "type", "timestamp", "task_id", "version", "feed"} {
			delete(fields, own)
		}
		if f.all {
			it.owner = head.User
			delete(fields, "user_id")
		}
		it.key = keyOf(head.Task, head.Version, head.Type, fields)
		data, err := json.Marshal(fields)
		if err != nil {
			it.kind = itemJunk
		}
		it.data = hashJSON(data)
	}
	return it
}

// checkFrames compares every delivered event with the log, and every recipient with
// the event's user.
func (s *subject) checkFrames() {
	for _, n := range s.sessions {
		for _, it := range n.items {
			if it.misnamed {
				s.wrong(n.violation("P7", it, fmt.Sprintf("the stream gave %s with id %d another id", it.typ, it.id)))
			}
			switch it.kind {
			case itemEvent:
				s.matchFrame(n, it)
			case itemRead:
				s.matchRead(n, it)
			case itemJunk:
				s.wrong(n.violation("P7", it, fmt.Sprintf("a message that is no frame: %.200q", it.raw)))
			}
		}
	}
}

func (s *subject) matchFrame(n *session, it item) {
	rows := s.byID[it.id]
	if len(rows) == 0 {
		s.wrong(n.violation("P1", it, fmt.Sprintf("%s of %s was delivered with id %d, which is in no log", it.typ, it.key, it.id)))
		return
	}
	i := slices.IndexFunc(rows, func(r *row) bool { return r.key == it.key })
	if i < 0 {
		s.wrong(n.violation("P9", it, fmt.Sprintf("%s of %s was delivered with id %d, which is %s of %s", it.typ, it.key, it.id, rows[0].typ, rows[0].key)))
		return
	}
	r := rows[i]
	if r.user != "" && !s.users[n.user].Sees(r.user) {
		s.wrong(n.violation("P6", it, fmt.Sprintf("%s of %s is for %s and was delivered to %s", it.typ, it.key, r.user, n.user)))
	} else {
		s.matchFeed(n, it, r)
	}
	if it.typ != r.typ || it.data != r.data {
		s.wrong(n.violation("P7", it, fmt.Sprintf("%s of %s, id %d, was delivered with other content than the log has", it.typ, it.key, it.id)))
	}
}

// matchFeed checks that a frame of a further feed names it, and that no other frame names
// one; and that a frame for an admin who reads all events names its user.
func (s *subject) matchFeed(n *session, it item, r *row) {
	if n.all {
		if (r.user != "") != (it.owner != nil) || it.owner != nil && *it.owner != r.user {
			s.wrong(n.violation("P7", it, fmt.Sprintf("%s of %s, id %d, is of %q and does not name that user", it.typ, it.key, it.id, r.user)))
		}
		return
	}
	switch further := r.user != "" && r.user != n.user; {
	case further && (it.feed == nil || *it.feed != r.user):
		s.wrong(n.violation("P7", it, fmt.Sprintf("%s of %s, id %d, is of the feed %s and does not name it", it.typ, it.key, it.id, r.user)))
	case !further && it.feed != nil:
		s.wrong(n.violation("P7", it, fmt.Sprintf("%s of %s, id %d, names the feed %q and is not of a further feed", it.typ, it.key, it.id, *it.feed)))
	case further:
		s.figures["deliveries_of_further_feeds"]++
	}
}

func (n *session) violation(property string, it item, what string) Violation {
	return Violation{Property: property, What: what, Client: n.client, User: n.user, ID: it.id, Key: it.key, T: it.t}
}

// checkSessions checks each session alone: P3, P4, P10.
func (s *subject) checkSessions() {
	for _, n := range s.sessions {
		s.checkSession(n)
		s.checkReads(n)
	}
}

func (s *subject) checkSession(n *session) {
	seen := make(map[int64]bool)
	asked, last, bookmark, lives := n.after, int64(0), n.after, 0
	for _, it := range n.items {
		switch it.kind {
		case itemEvent:
			switch {
			case seen[it.id]:
				s.wrong(n.violation("P3", it, fmt.Sprintf("id %d came twice in session %d", it.id, n.number)))
			case it.id <= asked:
				s.wrong(n.violation("P3", it, fmt.Sprintf("id %d came again in session %d, which asked for what is after %d", it.id, n.number, asked)))
			case it.id < last:
				s.wrong(n.violation("P4", it, fmt.Sprintf("id %d came after %d in session %d", it.id, last, n.number)))
			case it.id <= bookmark:
				s.wrong(n.violation("P10", it, fmt.Sprintf("id %d came after the cursor %d in session %d", it.id, bookmark, n.number)))
			}
			seen[it.id] = true
			last = max(last, it.id)
		case itemMark:
			bookmark = max(bookmark, it.id)
		case itemLive, itemReset:
			if it.kind == itemLive {
				lives++
			}
			if lives > 1 || it.kind == itemLive && n.proto == "plain" {
				s.wrong(n.violation("P10", it, "a feed_live that nobody asked for"))
			}
			if bookmark = it.id; it.reason == "ahead" { // the client was sent back
				asked, last = min(asked, it.id), min(last, it.id)
			}
		}
	}
}
