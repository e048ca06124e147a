package check

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// longReplay is more than one page of the log.
const longReplay = 500

// countSessions counts the paths that sessions took, for P14 and for the report.
func (s *subject) countSessions() {
	f := s.figures
	f["clients"] = int64(len(s.Clients))
	f["sessions"] = int64(len(s.sessions))
	for _, n := range s.sessions {
		if n.opened > 0 {
			f["sessions_opened"]++
		}
		switch {
		case n.end.Kind == history.Close:
			f[fmt.Sprintf("closed_%d", n.end.Code)]++
		case n.end.Kind == history.Broken:
			f["broken"]++
			if strings.Contains(n.end.Text, "silent") {
				f["found_silent"]++
			}
		case n.end.Kind == history.Refused:
			f[fmt.Sprintf("refused_%d", n.end.Status)]++
		}
		s.countItems(n)
	}
}

func (s *subject) countItems(n *session) {
	replayed, live := 0, n.proto == "plain" || n.after < 0
	for _, it := range n.items {
		switch it.kind {
		case itemEvent:
			s.figures["deliveries"]++
			if it.skipped {
				s.figures["suppressed"]++
			}
			if !live {
				replayed++
			}
		case itemLive:
			live = true
		case itemReset:
			s.figures["reset_"+it.reason]++
		}
	}
	if replayed > 0 {
		s.figures["replays"]++
	}
	if replayed > longReplay {
		s.figures["long_replays"]++
	}
}

// paths says how often a run has taken each path that it may have to take.
var paths = map[string]func(f map[string]int64) int64{
	"replay":                 func(f map[string]int64) int64 { return f["replays"] },
	"replay of many pages":   func(f map[string]int64) int64 { return f["long_replays"] },
	"reset: expired":         func(f map[string]int64) int64 { return f["reset_expired"] },
	"reset: ahead":           func(f map[string]int64) int64 { return f["reset_ahead"] },
	"close: too slow":        func(f map[string]int64) int64 { return f["closed_4008"] + f["slow_closes"] },
	"close: no pong":         func(f map[string]int64) int64 { return f["closed_4009"] + f["dead_peers"] },
	"close: draining":        func(f map[string]int64) int64 { return f["closed_1012"] },
	"close: token expired":   func(f map[string]int64) int64 { return f["closed_4001"] },
	"takeover":               func(f map[string]int64) int64 { return f["takeovers"] },
	"late commit":            func(f map[string]int64) int64 { return f["late_commits"] },
	"suppressed duplicate":   func(f map[string]int64) int64 { return f["suppressed"] },
	"commits lost to a fork": func(f map[string]int64) int64 { return f["commits_lost"] },
	"write of unknown end":   func(f map[string]int64) int64 { return f["writes_info"] },
	"further feed":           func(f map[string]int64) int64 { return f["deliveries_of_further_feeds"] },
	"reset: source_broken":   func(f map[string]int64) int64 { return f["reset_source_broken"] },
	"attached: cleaned":      func(f map[string]int64) int64 { return f["attached_cleaned"] },
	"attached: again":        func(f map[string]int64) int64 { return f["attached_inserted_again"] },
	"attached: new owner":    func(f map[string]int64) int64 { return f["attached_owners"] },
	"gateway: deliveries":    func(f map[string]int64) int64 { return f["gateway_deliveries"] },
	"gateway: session moved": func(f map[string]int64) int64 { return f["gateway_moves"] },
	"gateway: gap filled":    func(f map[string]int64) int64 { return f["gateway_gaps"] },
	"gateway: log read":      func(f map[string]int64) int64 { return f["gateway_reads"] },
	"gateway: memory read":   func(f map[string]int64) int64 { return f["gateway_recalled"] },
	"core: published again":  func(f map[string]int64) int64 { return f["republished"] },

	"thinned: left out":         func(f map[string]int64) int64 { return f["left_out_as_thinned"] },
	"compact: left out":         func(f map[string]int64) int64 { return f["left_out_as_outweighed"] },
	"named: sent again":         func(f map[string]int64) int64 { return f["named_again"] },
	"forward: sent again":       func(f map[string]int64) int64 { return f["forward_refused"] },
	"forward: taken twice":      func(f map[string]int64) int64 { return f["forward_taken_twice"] },
	"forward: given up":         func(f map[string]int64) int64 { return f["forward_given_up"] },
	"forward: other process":    func(f map[string]int64) int64 { return f["forward_takeovers"] },
	"forward: left out as read": func(f map[string]int64) int64 { return f["forward_left_out_as_read"] },
	"forward: sent as unread":   func(f map[string]int64) int64 { return f["forward_sent_as_unread"] },
}

// checkVacuity is P14.
func (s *subject) checkVacuity() {
	s.countTakeovers()
	s.countCloses()
	s.countMoves()
	if s.Header.Marker == "" {
		s.lacks(lackingEnd, "the run did not come to its end")
	}
	for _, name := range s.Header.Faults {
		o := s.outcome(name)
		if s.outcomes = append(s.outcomes, o); o.Fired == 0 {
			s.lacks("fault "+name, "the fault %s never had its effect: %s", name, cmp.Or(o.Detail, "it was never tried"))
		}
	}
	for _, f := range s.Faults {
		if f.Fired {
			s.figures["faults"]++
		}
	}
	for _, name := range s.Header.Paths {
		if count := paths[name]; count == nil || count(s.figures) == 0 {
			s.lacks("path "+name, "the path %q was never taken", name)
		}
	}
	if got, want := s.figures["deliveries"], s.Header.LeastDeliveries; got < want {
		s.lacks("deliveries", "%d events were delivered, want %d at least", got, want)
	}
	if info, all := s.figures["writes_info"], int64(len(s.Writes)); info*5 > all {
		s.lacks("outcomes", "of %d writes the outcome of %d is unknown, want a fifth at most", all, info)
	}
}

// lackingEnd is in Lacking when a run did not reach its end.
const lackingEnd = "end"

// lacks records something that the run has not shown.
func (s *subject) lacks(what, format string, args ...any) {
	s.lacking = append(s.lacking, what)
	s.wrong(Violation{Property: "P14", What: fmt.Sprintf(format, args...)})
}

// outcome combines all tries of a fault.
func (s *subject) outcome(name string) Outcome {
	o := Outcome{Name: name}
	for _, f := range s.Faults {
		if f.Name != name || f.Expired > 0 && !f.Fired { // retention records in advance what it is about to do
			continue
		}
		o.Tries++
		if o.Fired == 0 {
			o.Detail = f.Detail
		}
		if f.Fired {
			o.Fired++
		}
	}
	return o
}

// Unfinished is the report of a run that ended early with an error.
func Unfinished(h history.Header, why error) Report {
	r := Report{Verdict: Invalid, Counts: map[string]int{"P14": 1}, Figures: make(map[string]int64), Lacking: []string{lackingEnd},
		Violations: []Violation{{Property: "P14", What: "the run broke off: " + why.Error()}}}
	for _, name := range h.Faults {
		r.Faults, r.Lacking = append(r.Faults, Outcome{Name: name}), append(r.Lacking, "fault "+name)
	}
	for _, name := range h.Paths {
		r.Lacking = append(r.Lacking, "path "+name)
	}
	return r
}

// countCloses counts closes from the metrics of the servers: a peer that is gone or
// does not read never gets the code. It counts what only servers know of gateways, too.
func (s *subject) countCloses() {
	type process struct {
		server string
		start  int64
	}
	last := make(map[process]history.Resource)
	for _, r := range s.Resources {
		last[process{r.Server, r.Start}] = r
	}
	for _, r := range last {
		s.figures["slow_closes"] += r.Slow
		s.figures["dead_peers"] += r.NoPong
		s.figures["republished"] += r.Republished
		if r.Gateway {
			s.figures["gateway_gaps"] += r.Gaps
			s.figures["gateway_reads"] += r.Reads
			s.figures["gateway_recalled"] += r.Recalled
		}
	}
}

// countMoves counts deliveries of gateways, and sessions that went on with their cursor
// between a gateway and a server with a database.
func (s *subject) countMoves() {
	before := make(map[string]*session) // by client
	for _, n := range s.sessions {
		if n.opened == 0 {
			continue
		}
		if last := before[n.client]; last != nil && n.after > 0 && s.gateways[n.server] != s.gateways[last.server] {
			s.figures["gateway_moves"]++
		}
		before[n.client] = n
		for _, it := range n.items {
			if it.kind == itemEvent && s.gateways[n.server] {
				s.figures["gateway_deliveries"]++
			}
		}
	}
}

// countTakeovers counts changes of the leading process.
func (s *subject) countTakeovers() {
	var leader history.Resource
	for _, r := range s.Resources {
		if !r.Leader || r.Server == leader.Server && r.Start == leader.Start {
			continue
		}
		if leader.Server != "" {
			s.figures["takeovers"]++
		}
		leader = r
	}
}
