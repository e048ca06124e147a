// Package check judges the history of a run: pure functions from a history to a
// verdict.
//
// # Model
//
// The truth is the sequence of commits that Postgres's own log shows. From the rows of
// the tasks alone, model.go derives which events there must be, for whom and in what
// order, without code of taskfeed; for tasks of an attached table attached.go and fold.go
// do so from its rows. Every row of the event log must be one of them
// (log.go), and every frame that a client received must be a row of the log
// (sessions.go). Each property of the list below is then one function.
//
//	P1  no phantom      nothing is delivered or logged that did not commit
//	P2  nothing lost    every session is complete from its cursor to its end
//	P3  nothing twice   neither in the log nor on a wire nor after a cursor
//	P4  ordered         ids ascend in every session
//	P5  commit order    of each task, and of any two writes of which one ended
//	                    before the other began
//	P6  isolation       no user's event, canary or token anywhere it does not belong
//	P7  integrity       what is delivered is what was written
//	P8  honest gaps     every feed_reset was justified
//	P9  no reuse        no id ever carries two different events
//	P10 cursors         nothing at or below a cursor of the protocol comes after it
//	P11 liveness        everybody catches up once the faults have stopped
//	P12 bounded         servers return to their baseline
//	P13 codes           every close code and status is allowed for the faults of the moment
//	P14 not vacuous     each fault fired and each path was taken
//
// A broken P14 makes a run INVALID, any other makes it FAIL.
//
// The package judges only what is recorded. A client that never connected proves
// nothing; P14 reports such gaps.
package check

import (
	"cmp"
	"slices"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// Verdict is the result of a check.
type Verdict string

// The verdicts.
const (
	Pass    Verdict = "pass"
	Fail    Verdict = "FAIL"
	Invalid Verdict = "INVALID" // nothing is wrong, but too little happened for a pass
)

// Violation is one breach of a property.
type Violation struct {
	Property string `json:"property"` // "P1" to "P14"
	What     string `json:"what"`
	Client   string `json:"client,omitempty"`
	User     string `json:"user,omitempty"`
	Op       string `json:"op,omitempty"`
	Key      string `json:"key,omitempty"` // of the event: task@version, or its op
	ID       int64  `json:"id,omitempty"`  // of the event
	T        int64  `json:"t,omitempty"`   // when it was observed
}

// Report is the outcome of a check.
type Report struct {
	Verdict    Verdict          `json:"verdict"`
	Counts     map[string]int   `json:"counts,omitempty"`     // violations by property
	Violations []Violation      `json:"violations,omitempty"` // the first ones of each property
	Stories    []Story          `json:"stories,omitempty"`
	Figures    map[string]int64 `json:"figures"`
	Latencies  []Latency        `json:"latencies,omitempty"`
	Faults     []Outcome        `json:"faults,omitempty"`
	// Lacking lists what the run has not shown, in a form that can be compared between
	// runs.
	Lacking []string `json:"lacking,omitempty"`
}

// Outcome is the result of a fault.
type Outcome struct {
	Name   string `json:"name"`
	Tries  int    `json:"tries"`
	Fired  int    `json:"fired"`            // how many of them had their effect
	Detail string `json:"detail,omitempty"` // of the first that had it, or of the last try
}

// perProperty is the maximum number of violations of one property in a report.
const perProperty = 5

// Properties lists the properties in order, with a description.
var Properties = []struct{ Name, Says string }{
	{"P1", "nothing is delivered that did not commit"},
	{"P2", "nothing is lost"},
	{"P3", "nothing comes twice"},
	{"P4", "ids ascend"},
	{"P5", "the order is that of the commits"},
	{"P6", "nobody sees data of others"},
	{"P7", "what is delivered is what was written"},
	{"P8", "every reset is justified"},
	{"P9", "no id is used twice"},
	{"P10", "cursors are true"},
	{"P11", "everybody catches up"},
	{"P12", "servers return to their baseline"},
	{"P13", "close codes fit the faults"},
	{"P14", "every fault fired and every path was taken"},
}

// Run checks a history.
func Run(h *history.History) Report {
	s := newSubject(h)
	for _, property := range []func(){
		s.checkLog, s.checkFrames, s.checkUndone, s.checkAnswers, s.checkComplete, s.checkSessions, s.checkOrder,
		s.checkCanaries, s.checkLogs, s.checkResets, s.checkCaughtUp, s.checkResources,
		s.checkEndings, s.checkMessages, s.checkForwards, s.checkVacuity,
	} {
		property()
	}
	return s.report()
}

// subject is an indexed history with the violations found so far.
type subject struct {
	*history.History
	writes   map[string]*history.Write // by op
	deletes  map[string]*history.Write // writes that delete, by task
	expected map[string][]*expected    // by key; a lost change may share its key with a later one
	order    []*expected               // in commit order
	log      []*row                    // by ascending id
	byID     map[int64][]*row
	users    map[string]history.User
	byUser   map[string][]*row // rows of a user's feed that were not lost, by ascending id
	begins   map[string]begins
	sessions []*session
	servers  map[string]bool
	gateways map[string]bool // those of servers that are gateways
	figures  map[string]int64

	jobSteps []jobStep
	attached map[string]task // tasks of the attached table, as they are at the end; nil: gone

	violations map[string][]Violation
	outcomes   []Outcome
	lacking    []string
}

func newSubject(h *history.History) *subject {
	s := &subject{
		History:    h,
		writes:     make(map[string]*history.Write),
		deletes:    make(map[string]*history.Write),
		expected:   make(map[string][]*expected),
		byID:       make(map[int64][]*row),
		users:      make(map[string]history.User),
		byUser:     make(map[string][]*row),
		begins:     make(map[string]begins),
		servers:    make(map[string]bool),
		gateways:   make(map[string]bool),
		figures:    make(map[string]int64),
		attached:   make(map[string]task),
		violations: make(map[string][]Violation),
	}
	slices.SortStableFunc(s.Faults, func(a, b history.Fault) int { return cmp.Compare(a.Begin, b.Begin) })
	for _, u := range s.Header.Users {
		s.users[u.ID] = u
	}
	s.indexWrites()
	s.readTruth()
	s.indexFeeds()
	s.readSessions()
	for _, r := range s.Resources {
		s.servers[r.Server] = true
		if r.Gateway {
			s.gateways[r.Server] = true
		}
	}
	return s
}

func (s *subject) indexWrites() {
	for i := range s.Writes {
		w := &s.Writes[i]
		s.writes[w.Op] = w
		if w.Action == "delete" {
			s.deletes[w.Task] = w
		}
		s.figures["writes_"+string(w.Outcome)]++
	}
}

// wrong records a violation.
func (s *subject) wrong(v Violation) {
	s.violations[v.Property] = append(s.violations[v.Property], v)
}

func (s *subject) report() Report {
	r := Report{Verdict: Pass, Counts: make(map[string]int), Figures: s.figures, Latencies: s.latencies(), Faults: s.outcomes, Lacking: s.lacking}
	for _, p := range Properties {
		found := s.violations[p.Name]
		if len(found) == 0 {
			continue
		}
		if r.Counts[p.Name] = len(found); p.Name != "P14" {
			r.Verdict = Fail
		} else if r.Verdict == Pass {
			r.Verdict = Invalid
		}
		slices.SortStableFunc(found, func(a, b Violation) int { return cmp.Compare(a.T, b.T) })
		if p.Name != "P14" && len(r.Stories) < maxStories {
			r.Stories = append(r.Stories, s.tell(smallest(found)))
		}
		if p.Name != "P14" {
			found = found[:min(len(found), perProperty)]
		}
		r.Violations = append(r.Violations, found...)
	}
	return r
}
