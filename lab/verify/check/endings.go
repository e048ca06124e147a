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

// aftermath is how long after its end a fault may have consequences: servers start,
// time-outs expire, clients reconnect.
const aftermath = 10 * time.Second

// Groups of faults with the same consequences for a client. A name that ends in * is a
// prefix.
var (
	killing  = []string{"kill-*", "stop-*", "out-of-files", "old-snapshot", "leader-freeze-before-publish", "gateway-*"}
	ending   = []string{"term-*"}
	network  = []string{"net-*"}
	database = []string{"pg-*", "db-*", "failover", "restore", "events-lock", "read-only", "vacuum-full", "retention", "disk-full", "notify-off"}
	stalling = []string{"client-*"}
	storming = []string{"storm"}
)

// rule says when a connection may end: during or shortly after one of the faults, for
// clients with the trait and the protocol. An empty field allows any.
type rule struct {
	faults []string
	trait  string
	proto  string
}

// closeRules are the close codes that a server may send.
var closeRules = map[int][]rule{
	1012: {{faults: []string{"term-*", "kill-in-drain"}}, {proto: "sse", faults: slices.Concat(killing, ending, database)}},
	4001: {{trait: "expiring"}, {trait: "renewing", faults: slices.Concat(network, stalling, killing)}},
	4003: {{trait: "foreign"}},
	4008: {{faults: slices.Concat(network, stalling, killing)}},
	4009: {{faults: slices.Concat(network, stalling, killing)}},
}

// brokenRules are for connections that end without a close frame, or become silent.
var brokenRules = map[int][]rule{0: {{faults: slices.Concat(killing, network, stalling)}, {proto: "rest", faults: slices.Concat(ending, database)}}}

// refusedRules are the statuses with which a handshake may be refused; 0 means no
// answer.
var refusedRules = map[int][]rule{
	0:   {{faults: slices.Concat(killing, ending, network, stalling, storming)}, {proto: "rest", faults: database}},
	401: {{trait: "expiring"}}, // the token expired while the server was delayed
	503: {{faults: slices.Concat(killing, ending, database)}},
}

// checkEndings is P13: every close code, status and broken connection is allowed for
// the faults of the moment, and no fault has found anything wrong itself.
func (s *subject) checkEndings() {
	for _, f := range s.Faults {
		if f.Wrong != "" {
			s.wrong(Violation{Property: cmp.Or(f.Breaks, "P13"), T: f.End, What: fmt.Sprintf("%s %s: %s", f.Name, f.Target, f.Wrong)})
		}
	}
	for _, n := range s.sessions {
		switch n.end.Kind {
		case history.Close:
			s.allow(n, n.ended, closeRules, n.end.Code)
		case history.Refused:
			s.allow(n, n.dialed, refusedRules, n.end.Status)
		case history.Broken:
			s.allow(n, n.ended, brokenRules, 0)
		}
	}
}

// allow records a violation when no rule allows the end of a session; from is when its
// cause may have begun.
func (s *subject) allow(n *session, from int64, rules map[int][]rule, code int) {
	for _, r := range rules[code] {
		if (r.trait == "" || hasTrait(n.traits, r.trait)) && (r.proto == "" || n.proto == r.proto) && (r.faults == nil || s.during(from, n.ended, n.server, r.faults)) {
			return
		}
	}
	s.wrong(Violation{Property: "P13", Client: n.client, User: n.user, T: n.ended,
		What: fmt.Sprintf("session %d %s, and nothing was done that explains it", n.number, n.fate())})
}

// during reports whether one of the faults was in progress between two moments, or had
// just ended. A fault of another server does not count; an empty server stands for any.
func (s *subject) during(from, to int64, server string, names []string) bool {
	return slices.ContainsFunc(s.Faults, func(f history.Fault) bool {
		elsewhere := server != "" && s.servers[f.Target] && f.Target != server
		return !elsewhere && f.Begin <= to && from <= f.End+int64(aftermath) &&
			slices.ContainsFunc(names, func(name string) bool { return matches(name, f.Name) })
	})
}

func matches(pattern, name string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}

func hasTrait(traits, trait string) bool {
	return slices.Contains(strings.Fields(traits), trait)
}

// Allowances over the baseline: idle connections of a pool, the Go runtime.
const (
	slackGoroutines = 15
	slackFDs        = 20
	backendsEach    = 16 // of one server: its pools, its listener, and a margin
	slackMegabytes  = 64 // memory that the runtime has not returned yet
)

// checkResources is P12.
func (s *subject) checkResources() {
	var base history.Resource
	last := make(map[string]history.Resource)
	for _, r := range s.Resources {
		if r.Phase == "baseline" {
			base.Goroutines, base.FDs, base.Memory = max(base.Goroutines, r.Goroutines), max(base.FDs, r.FDs), max(base.Memory, r.Memory)
		}
		if r.Phase == "end" {
			last[r.Server] = r
		}
		if s.figures["memory_max"] = max(s.figures["memory_max"], r.Memory); r.Memory > s.Header.MemoryLimit {
			s.wrong(Violation{Property: "P12", T: r.T, What: fmt.Sprintf("%s held %d MB, more than %d", r.Server, r.Memory>>20, s.Header.MemoryLimit>>20)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(last)) {
		r := last[name]
		for _, m := range []struct {
			what      string
			is, limit int64
		}{
			{"connections", r.Connections, 0},
			{"goroutines", r.Goroutines, base.Goroutines + slackGoroutines},
			{"file descriptors", r.FDs, base.FDs + slackFDs},
			{"MB of memory", r.Memory >> 20, base.Memory>>20 + slackMegabytes},
			{"backends in Postgres, of all servers,", r.Backends, int64(len(last)-len(s.gateways)) * backendsEach},
		} {
			if m.is > m.limit {
				s.wrong(Violation{Property: "P12", T: r.T, What: fmt.Sprintf("%s still had %d %s after everybody had left, want %d at most", name, m.is, m.what, m.limit)})
			}
		}
	}
}
