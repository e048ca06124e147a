package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/taskfeed/taskfeed/internal/verify/history"
)

// longReplay is more than one page of the log.
const longReplay = 500

// countSessions counts the paths that sessions took, for P14 and for people.
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

// paths says how each path that a run may be asked to have taken is counted.
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
}

// checkVacuity is P14.
func (s *subject) checkVacuity() {
	s.countTakeovers()
	s.countCloses()
	missing := func(format string, args ...any) {
		s.wrong(Violation{Property: "P14", What: fmt.Sprintf(format, args...)})
	}
	if s.Header.Marker == "" {
		missing("the run did not come to its end")
	}
	for _, name := range s.Header.Faults {
		why := "it was never tried"
		if !slices.ContainsFunc(s.Faults, func(f history.Fault) bool {
			if f.Name == name {
				why = f.Detail
			}
			return f.Name == name && f.Fired
		}) {
			missing("the fault %s never had its effect: %s", name, why)
		}
	}
	for _, f := range s.Faults {
		if f.Fired {
			s.figures["faults"]++
		}
	}
	for _, name := range s.Header.Paths {
		if count := paths[name]; count == nil || count(s.figures) == 0 {
			missing("the path %q was never taken", name)
		}
	}
	if got, want := s.figures["deliveries"], s.Header.LeastDeliveries; got < want {
		missing("%d events were delivered, want %d at least", got, want)
	}
	if info, all := s.figures["writes_info"], int64(len(s.Writes)); info*5 > all {
		missing("of %d writes the outcome of %d is unknown, want a fifth at most", all, info)
	}
}

// countCloses counts what servers say that they closed: a peer that is gone or
// does not read never learns the code.
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
	}
}

// countTakeovers counts how often another process was seen to lead.
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
