package check

import (
	"bufio"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

const (
	signedWithin = time.Minute            // of a request: how old its timestamp may be
	slowAnswer   = time.Second            // a forward may have given up on an answer that takes so long
	readSlack    = 100 * time.Millisecond // between a mark and the moment at which it counts
	thawing      = 2 * time.Second        // after it was frozen, until a process has noticed that
	trapped      = "followed the redirect"
	resending    = "retry" // the process that sends failures again
)

// losing are the faults after which a read mark may be gone, though it was acknowledged.
var losing = []string{"pg-immediate", "pg-kill-*", "pg-restart", "disk-full", "failover", "restore"}

// sending is a forward with the requests that it made.
type sending struct {
	*subject
	history.Forward
	requests []*request // in the order in which they came
	taken    map[int64]bool
	refused  map[int64]bool
	failures map[int64]bool
	starts   map[string][]int64 // when each process began to forward, in nanoseconds of Unix time
}

// request is one of them, with the event that it is.
type request struct {
	history.Hook
	user string // that the body names
	item item
}

// checkForwards judges what a receiver got: every event at least once, those of a user in
// order, again only after a failure, signed, and what was given up at the end; with
// UnlessRead what its user has not read in time, and nothing else.
func (s *subject) checkForwards() {
	for _, f := range s.Forwards {
		n := &sending{subject: s, Forward: f, taken: make(map[int64]bool), refused: make(map[int64]bool), failures: make(map[int64]bool), starts: make(map[string][]int64)}
		n.readStarts()
		for _, id := range f.Failures {
			n.failures[id] = true
			s.figures["forward_given_up"]++
		}
		for _, h := range s.Hooks {
			if h.Forward == f.Name {
				n.add(h)
			}
		}
		slices.SortStableFunc(n.requests, func(a, b *request) int { return cmp.Compare(a.T, b.T) })
		n.checkOrder()
		n.checkAgain()
		n.checkUnread()
		n.checkAll()
	}
}

func (n *sending) bad(property string, r *request, what string, args ...any) {
	n.wrong(Violation{Property: property, Client: "forward " + n.Name, User: r.user, ID: r.item.id, Key: r.item.key, T: r.T,
		What: fmt.Sprintf("%s sent %s of %s, id %d, %s", r.Process, r.item.typ, r.item.key, r.item.id, fmt.Sprintf(what, args...))})
}

// add checks a request alone: it is signed, and what it says is an event of the log.
func (n *sending) add(h history.Hook) {
	var body struct {
		Type string          `json:"type"`
		User string          `json:"user_id"`
		Data json.RawMessage `json:"data"`
	}
	err := json.Unmarshal([]byte(h.Body), &body)
	r := &request{Hook: h, user: body.User, item: parseItem(frame{text: string(body.Data)})}
	n.figures["forward_requests"]++
	switch {
	case h.Answer == trapped:
		n.bad("P6", r, "to where a redirect led")
		return
	case err != nil || r.item.kind != itemEvent:
		n.bad("P7", r, "as what is no event: %.200q", h.Body)
		return
	case h.ID != "evt_"+strconv.FormatInt(r.item.id, 10):
		n.bad("P7", r, "with the id %q", h.ID)
	case !n.signed(h):
		n.bad("P7", r, "with a signature that is not its own")
	case body.Type != r.item.typ:
		n.bad("P7", r, "as %s", body.Type)
	}
	n.match(r)
	n.requests = append(n.requests, r)
	if n.taken[r.item.id] = n.taken[r.item.id] || h.Took; !h.Clear {
		n.refused[r.item.id] = true
		n.figures["forward_refused"]++
	}
}

// match compares a request with the log.
func (n *sending) match(r *request) {
	rows := n.byID[r.item.id]
	i := slices.IndexFunc(rows, func(o *row) bool { return o.key == r.item.key })
	switch {
	case len(rows) == 0:
		n.bad("P1", r, "which is in no log")
	case i < 0:
		n.bad("P9", r, "which is %s of %s", rows[0].typ, rows[0].key)
	case rows[i].user != r.user || r.item.feed != nil:
		n.bad("P7", r, "as if it were for %q; it is for %q", r.user, rows[i].user)
	case rows[i].typ != r.item.typ || rows[i].data != r.item.data:
		n.bad("P7", r, "with other content than the log has")
	}
}

func (n *sending) signed(h history.Hook) bool {
	at, err := strconv.ParseInt(h.Timestamp, 10, 64)
	if err != nil || time.Duration(h.Wall-at*int64(time.Second)).Abs() > signedWithin {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(n.Key)
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(h.ID + "." + h.Timestamp + "." + h.Body))
	return h.Signature == "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// checkOrder is P4: no event of a user is taken first after a later one was, unless it was
// given up before.
func (n *sending) checkOrder() {
	greatest, seen := make(map[string]int64), make(map[int64]bool)
	last := ""
	for _, r := range n.requests {
		if r.Process != last && last != "" && r.Process != resending {
			n.figures["forward_takeovers"]++
		}
		last = r.Process
		if !r.Took || seen[r.item.id] {
			continue
		}
		seen[r.item.id] = true
		if before := greatest[r.user]; r.item.id < before && !n.failures[r.item.id] {
			n.bad("P4", r, "after the id %d of the same user was taken", before)
		}
		greatest[r.user] = max(greatest[r.user], r.item.id)
	}
}

// checkAgain is P3: what was taken is sent again only if the forward could not know that, or
// if a process has begun since then.
func (n *sending) checkAgain() {
	last := make(map[int64]*request)
	for _, r := range n.requests {
		before := last[r.item.id]
		if last[r.item.id] = r; before == nil || !before.Took {
			continue
		}
		n.figures["forward_taken_twice"]++
		if before.Clear && before.End-before.T < int64(slowAnswer) && !n.failures[r.item.id] && !n.unaware(before, r) {
			n.bad("P3", r, "again, which was taken, and nothing had failed")
		}
	}
}

// unaware reports whether a process could not know of an earlier request: some process has
// begun since then, or the earlier request is of one that it took over from, or it was
// frozen while it sent.
func (n *sending) unaware(before, r *request) bool {
	for _, starts := range n.starts {
		if slices.ContainsFunc(starts, func(at int64) bool { return before.Wall <= at && at <= r.Wall }) {
			return true
		}
	}
	if before.Process != r.Process && n.begun(r.Process, r.Wall) > n.begun(before.Process, r.Wall) {
		return true
	}
	return slices.ContainsFunc(n.Faults, func(f history.Fault) bool {
		return f.Name == "forward-stop" && f.Target == r.Process && f.Begin <= r.T && r.T <= f.End+int64(thawing)
	})
}

// begun returns when a process began last before a moment.
func (n *sending) begun(process string, by int64) (last int64) {
	for _, at := range n.starts[process] {
		if at <= by {
			last = max(last, at)
		}
	}
	return last
}

// readStarts reads from the logs of the processes when each began to forward.
func (n *sending) readStarts() {
	for name, path := range n.Logs {
		if strings.HasPrefix(name, "forward-"+n.Name+"-") {
			n.readStartsOf(strings.TrimSuffix(strings.TrimPrefix(name, "forward-"), ".log"), path)
		}
	}
}

func (n *sending) readStartsOf(process, path string) {
	f, err := os.Open(path)
	if err != nil {
		return // checkLogs reports it
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var line struct {
			Time time.Time `json:"time"`
			Msg  string    `json:"msg"`
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "forwarding" {
			n.starts[process] = append(n.starts[process], line.Time.UnixNano())
		}
	}
}

// checkUnread is P10: what its user had read in time is not sent, and nothing is sent
// before.
func (n *sending) checkUnread() {
	if n.UnlessRead == 0 {
		return
	}
	for _, r := range n.requests {
		if r.user == "" {
			continue
		}
		n.figures["forward_sent_as_unread"]++
		var body struct {
			Data struct {
				Timestamp time.Time `json:"timestamp"`
			} `json:"data"`
		}
		_ = json.Unmarshal([]byte(r.Body), &body) // add has reported what cannot be parsed
		due := body.Data.Timestamp.UnixNano() + n.UnlessRead - int64(readSlack)
		if r.Wall < due {
			n.bad("P10", r, "%v before it was due", time.Duration(due-r.Wall))
		}
		for _, m := range n.Reads {
			if m.User == r.user && m.OK && m.Through >= r.item.id && m.End < due && !n.during(m.T, r.T, "", losing) {
				n.bad("P10", r, "which was read %v before it was due", time.Duration(due-m.End))
				break
			}
		}
	}
}

// checkAll is P2: every event was taken, also one that was given up before, or was read by
// its user, and P11: all has been forwarded by the end.
func (n *sending) checkAll() {
	expired, missing := n.expiredBy(1<<62, 1<<62), int64(0)
	var last *row
	for _, r := range n.log {
		if r.lost {
			continue
		}
		last = r
		switch {
		case n.taken[r.id]:
		case n.read(r):
			n.figures["forward_left_out_as_read"]++
		case r.id <= expired && (n.Lost > 0 || n.figures["forks"] > 0):
			missing++
		case n.refused[r.id] && !n.failures[r.id] && n.figures["forks"] > 0: // the failure was lost
		default:
			v := Violation{Property: "P2", Client: "forward " + n.Name, User: r.user, ID: r.id, Key: r.key, Op: r.op()}
			v.What = fmt.Sprintf("%s of %s, id %d, was not forwarded", r.typ, r.key, r.id)
			if n.failures[r.id] {
				v.What += ": it was given up, and not delivered when it was sent again"
			}
			n.wrong(v)
		}
	}
	if n.figures["forks"] == 0 && missing > n.Lost {
		n.wrong(Violation{Property: "P8", Client: "forward " + n.Name, What: fmt.Sprintf("%d events were dropped before they were forwarded, and the database counts %d", missing, n.Lost)})
	}
	if n.Lost > 0 && expired == 0 {
		n.wrong(Violation{Property: "P8", Client: "forward " + n.Name, What: fmt.Sprintf("the database counts %d lost ids, and retention had dropped nothing", n.Lost)})
	}
	if last != nil && n.Cursor < last.id {
		n.wrong(Violation{Property: "P11", Client: "forward " + n.Name, What: fmt.Sprintf("the forward came as far as %d at the end, want %d", n.Cursor, last.id)})
	}
}

// read reports whether the user may have read an event before it was due.
func (n *sending) read(r *row) bool {
	return n.UnlessRead > 0 && r.user != "" && slices.ContainsFunc(n.Reads, func(m history.Read) bool { return m.User == r.user && m.Through >= r.id })
}

// requests tells what a forward sent of the event of a violation.
func (t *teller) requests(v Violation) {
	name, is := strings.CutPrefix(v.Client, "forward ")
	if !is {
		return
	}
	told := 0
	for _, h := range t.Hooks {
		if h.Forward == name && h.ID == fmt.Sprintf("evt_%d", v.ID) && told < maxFrames {
			told++
			t.say("request %s by %s: %s; %s", t.at(h.T), h.Process, h.Answer, shorten(h.Body))
		}
	}
}
