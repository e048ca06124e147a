package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// span is a range of ids that a session must have delivered completely: those after
// from, up to and including to.
type span struct{ from, to int64 }

// checkComplete is P2 for clients: each session must be complete from its beginning to
// its end, except for events that a feed_reset skipped. Sessions are joined by their
// cursors, so no later session can deliver what an earlier one missed.
func (s *subject) checkComplete() {
	for _, n := range s.sessions {
		got := make(map[int64]bool)
		for _, it := range n.items {
			if it.kind == itemEvent {
				got[it.id] = true
			}
		}
		for _, sp := range s.spans(n) {
			s.checkSpan(n, sp, got)
		}
	}
	s.checkNamed()
}

func (s *subject) checkSpan(n *session, sp span, got map[int64]bool) {
	feed := s.byUser[n.user]
	i, _ := slices.BinarySearchFunc(feed, sp.from+1, func(r *row, id int64) int { return cmp.Compare(r.id, id) })
	var missing []*row
	for ; i < len(feed) && feed[i].id <= sp.to; i++ {
		if !got[feed[i].id] && !s.leftOut(n, sp, feed[i]) {
			missing = append(missing, feed[i])
		}
	}
	if len(missing) == 0 {
		return
	}
	r := missing[0]
	v := Violation{Property: "P2", Client: n.client, User: n.user, ID: r.id, Key: r.key, Op: r.op(), T: n.passed(r.id)}
	v.What = fmt.Sprintf("session %d was told that all up to %d was delivered, and %s of %s, id %d, was not", n.number, sp.to, r.typ, r.key, r.id)
	if len(missing) > 1 {
		v.What += fmt.Sprintf(" (nor %d more up to id %d)", len(missing)-1, missing[len(missing)-1].id)
	}
	s.wrong(v)
}

// passed returns when the session went beyond an id.
func (n *session) passed(id int64) int64 {
	for _, it := range n.items {
		if it.id > id {
			return it.t
		}
	}
	return n.ended
}

// spans returns the ranges of a session between its resets.
func (s *subject) spans(n *session) (spans []span) {
	now := span{from: s.from(n)}
	if now.from < 0 {
		return nil
	}
	now.to = now.from
	for _, it := range n.items {
		switch it.kind {
		case itemEvent, itemLive, itemMark:
			now.to = max(now.to, it.id)
		case itemReset:
			spans = append(spans, now)
			now = span{it.id, it.id}
		}
	}
	return append(spans, now)
}

// from returns the id after which a session must be complete: the cursor it sent, or
// for a session that is live only, the first event written after it was opened or the
// first received one, whichever is lower. It is -1 when that is unknown.
func (s *subject) from(n *session) int64 {
	first := slices.IndexFunc(n.items, func(it item) bool { return it.kind == itemEvent })
	if n.after == 0 {
		if first < 0 {
			return s.expiredBy(n.ended, 1<<62)
		}
		return s.expiredBy(n.items[first].t, n.items[first].id)
	}
	if n.after > 0 {
		return n.after
	}
	from := int64(-1)
	if first >= 0 {
		from = n.items[first].id - 1
	}
	if id, ok := s.begins[n.user].firstAfter(n.opened); ok && n.opened > 0 && (from < 0 || id-1 < from) {
		from = id - 1
	}
	return from
}

// expiredBy returns the greatest id below limit up to which retention had begun to
// drop events by t, 0 when it had dropped none.
func (s *subject) expiredBy(t, limit int64) int64 {
	var expired int64
	for _, f := range s.Faults {
		if f.Begin <= t && f.Expired < limit {
			expired = max(expired, f.Expired)
		}
	}
	return expired
}

// checkResets is P8: no feed_reset without a reason.
func (s *subject) checkResets() {
	known := s.knownHeads()
	for _, n := range s.sessions {
		cursor := n.after
		for _, it := range n.items {
			switch it.kind {
			case itemEvent, itemLive, itemMark:
				cursor = max(cursor, it.id)
			case itemReset:
				if what := s.judgeReset(n, it, cursor, known); what != "" {
					s.wrong(n.violation("P8", it, what))
				}
				cursor = it.id
			}
		}
	}
}

// judgeReset returns what is wrong with a reset, "" when nothing is.
func (s *subject) judgeReset(n *session, it item, cursor int64, known heads) string {
	expired := s.expiredBy(it.t, 1<<62)
	switch {
	case it.reason == "expired" && cursor < 0 && expired > 0:
		return "" // live only: only the server knows the position
	case it.reason == "expired" && (cursor == 0 || cursor >= expired):
		return fmt.Sprintf("session %d was told that events after %d have expired, and retention had dropped those up to %d only", n.number, cursor, expired)
	case it.reason == "expired" && it.id < cursor:
		return fmt.Sprintf("session %d was sent back from %d to %d by a reset for expired events", n.number, cursor, it.id)
	case it.reason == "ahead" && cursor <= known.by(n.dialed):
		return fmt.Sprintf("session %d was told that its cursor %d is ahead of the log, and id %d had been delivered before", n.number, cursor, known.by(n.dialed))
	case it.reason != "expired" && it.reason != "ahead":
		return fmt.Sprintf("session %d got a reset for the reason %q", n.number, it.reason)
	}
	return ""
}

// heads are the greatest ids known to be in the log, by time.
type heads struct{ at, head []int64 }

func (h heads) by(t int64) int64 {
	i, _ := slices.BinarySearch(h.at, t)
	if i == 0 {
		return -1
	}
	return h.head[i-1]
}

// knownHeads collects when ids were first delivered, except those that a fork has
// undone.
func (s *subject) knownHeads() heads {
	var all []delivery
	for _, ofServer := range s.deliveries() {
		all = append(all, ofServer...)
	}
	return headsOf(all)
}

func headsOf(all []delivery) (h heads) {
	slices.SortFunc(all, func(a, b delivery) int { return cmp.Compare(a.t, b.t) })
	for _, d := range all {
		if len(h.head) == 0 || d.id > h.head[len(h.head)-1] {
			h.at, h.head = append(h.at, d.t), append(h.head, d.id)
		}
	}
	return h
}

// catchUpLimit is how long the last event may take to reach every client after the
// faults have stopped.
const catchUpLimit = 30 * time.Second

// checkCaughtUp is P11: every client has seen the last event.
func (s *subject) checkCaughtUp() {
	if s.Header.Marker == "" {
		return // P14 reports it
	}
	last, marked := make(map[string]*session), make(map[string]int64)
	for _, n := range s.sessions {
		last[n.client] = n
		i := slices.IndexFunc(n.items, func(it item) bool {
			return it.kind == itemEvent && (it.key == s.Header.Marker || it.key == s.Header.Marker+":"+n.user)
		})
		if _, before := marked[n.client]; i >= 0 && !before {
			marked[n.client] = n.items[i].t
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Clients)) {
		records := s.Clients[name]
		n, at := last[name], marked[name]
		if len(records) > 0 && hasTrait(records[0].Traits, "gone") || n != nil && n.proto == "rest" {
			continue
		}
		switch took := time.Duration(at - s.quietAt()); {
		case n == nil:
			s.wrong(Violation{Property: "P11", Client: name, What: "the client never tried to connect"})
		case at == 0:
			s.wrong(Violation{Property: "P11", Client: name, User: n.user, T: n.lastSign(),
				What: fmt.Sprintf("the last event never came: session %d %s", n.number, n.fate())})
		case took > catchUpLimit:
			s.wrong(Violation{Property: "P11", Client: name, User: n.user, T: at,
				What: fmt.Sprintf("the last event came %v after it was written", took.Round(time.Millisecond))})
		}
	}
}

// quietAt returns when the last event was written.
func (s *subject) quietAt() int64 {
	var at int64
	for op, w := range s.writes {
		if op == s.Header.Marker || strings.HasPrefix(op, s.Header.Marker+":") {
			at = max(at, w.End)
		}
	}
	return at
}

// lastSign returns when something last happened in a session.
func (n *session) lastSign() int64 {
	t := max(n.dialed, n.opened, n.ended)
	if len(n.items) > 0 {
		t = max(t, n.items[len(n.items)-1].t)
	}
	return t
}

// fate describes how a session ended.
func (n *session) fate() string {
	switch n.end.Kind {
	case history.Refused:
		return fmt.Sprintf("was refused with status %d %s", n.end.Status, n.end.Text)
	case history.Close:
		return fmt.Sprintf("was closed with %d %s", n.end.Code, n.end.Text)
	case history.Broken:
		return "broke off: " + n.end.Text
	case history.Quit:
		return "was ended by the client"
	}
	if n.opened == 0 {
		return "was never answered"
	}
	return "was open to the end"
}
