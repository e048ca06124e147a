package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Story explains one violation.
type Story struct {
	Violation Violation `json:"violation"`
	Lines     []string  `json:"lines"`
}

const (
	maxStories  = 3
	around      = 5 * time.Second // time before and after the violation that a story covers
	maxSessions = 2
	maxFrames   = 6   // of one client on each side
	maxRaw      = 240 // of one frame
)

// smallest picks the violation with the most details, such as its client and its
// write, and the earliest of those.
func smallest(found []Violation) Violation {
	return slices.MinFunc(found, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.gaps(), b.gaps()), cmp.Compare(a.T, b.T))
	})
}

func (v *Violation) gaps() int {
	gaps := 0
	for _, missing := range []bool{v.Op == "" && v.Key == "", v.Client == "", v.T == 0} {
		if missing {
			gaps++
		}
	}
	return gaps
}

// tell gathers the op, the rows, the frames and the faults around a violation.
func (s *subject) tell(v Violation) Story {
	t := &teller{subject: s, origin: s.origin()}
	if v.Op == "" && len(s.byID[v.ID]) > 0 {
		v.Op = s.byID[v.ID][0].op()
	}
	if v.T == 0 {
		v.T = s.doneAt(v.Op)
	}
	t.say("%s: %s", v.Property, v.What)
	t.write(v.Op)
	t.rows(v)
	t.frames(v)
	t.requests(v)
	t.faults(v.T)
	t.say("seed %d; to see it again: %s", s.Header.Seed, s.Header.Command)
	return Story{Violation: v, Lines: t.lines}
}

// origin returns when the run began, so that times can be printed relative to it.
func (s *subject) origin() int64 {
	origin := int64(0)
	first := func(t int64) {
		if t > 0 && (origin == 0 || t < origin) {
			origin = t
		}
	}
	for i := range s.Writes {
		first(s.Writes[i].Begin)
	}
	for _, n := range s.sessions {
		first(n.dialed)
	}
	return origin
}

type teller struct {
	*subject
	origin int64
	lines  []string
}

func (t *teller) say(format string, args ...any) {
	t.lines = append(t.lines, fmt.Sprintf(format, args...))
}

// at prints a moment as seconds since the run began.
func (t *teller) at(moment int64) string {
	if moment == 0 {
		return "?"
	}
	return fmt.Sprintf("%.3fs", time.Duration(moment-t.origin).Seconds())
}

func (t *teller) write(op string) {
	w := t.writes[op]
	if w == nil {
		return
	}
	t.say("op      %s: %s of task %q of %s in transaction %d, begun %s, %s at %s %s",
		w.Op, w.Action, w.Task, w.User, w.Txn, t.at(w.Begin), w.Outcome, t.at(w.End), w.Error)
}

func (t *teller) rows(v Violation) {
	for _, e := range t.expected[v.Key] {
		t.say("truth   row %d: %s of %s for %q%s", e.place, e.typ, e.key, e.user, lostNote(e.lost))
	}
	for _, r := range t.log {
		if r.id == v.ID || v.Key != "" && r.key == v.Key {
			t.say("log     id %d: %s of %s for %q%s", r.id, r.typ, r.key, r.user, lostNote(r.lost))
		}
	}
}

func lostNote(lost bool) string {
	if lost {
		return ", undone by a fork"
	}
	return ""
}

// frames adds what the client received just before and after.
func (t *teller) frames(v Violation) {
	for _, n := range t.nearby(v) {
		t.say("client  %s (%s) session %d to %s, %s, dialed %s, opened %s", n.client, n.user, n.number, n.server, n.asked(), t.at(n.dialed), t.at(n.opened))
		i := slices.IndexFunc(n.items, func(it item) bool { return it.t >= v.T })
		if i < 0 {
			i = len(n.items)
		}
		for _, it := range n.items[max(0, i-maxFrames):min(len(n.items), i+maxFrames)] {
			t.say("        %s %s", t.at(it.t), shorten(it.raw))
		}
		if n.ended != 0 {
			t.say("        %s %s", t.at(n.ended), n.fate())
		}
	}
}

// nearby returns the last sessions of the client that began before the violation was
// observed and did not end long before.
func (t *teller) nearby(v Violation) []*session {
	var near []*session
	for _, n := range t.sessions {
		if n.client == v.Client && n.dialed <= v.T && n.lastSign() >= v.T-int64(around) {
			near = append(near, n)
		}
	}
	return near[max(0, len(near)-maxSessions):]
}

func (n *session) asked() string {
	if n.after < 0 {
		return n.proto + ", live only"
	}
	return fmt.Sprintf("%s, after %d", n.proto, n.after)
}

func shorten(raw string) string {
	raw = strings.ToValidUTF8(raw, "�")
	if len(raw) <= maxRaw {
		return raw
	}
	return fmt.Sprintf("%s… (%d bytes)", raw[:maxRaw], len(raw))
}

func (t *teller) faults(moment int64) {
	if moment == 0 {
		return
	}
	for _, f := range t.Faults {
		if f.Begin <= moment+int64(around) && moment-int64(around) <= f.End {
			t.say("fault   %s %s from %s to %s %s", f.Name, f.Target, t.at(f.Begin), t.at(f.End), f.Detail)
		}
	}
}
