package check

import (
	"maps"
	"slices"
	"time"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// Latency is the time from the reply to a commit to the delivery of its event to
// connected clients.
type Latency struct {
	Phase string        `json:"phase"` // the fault at the time, or "no fault"
	Count int           `json:"count"`
	P50   time.Duration `json:"p50"`
	P99   time.Duration `json:"p99"`
	Max   time.Duration `json:"max"`
}

// NoFault is the phase without a fault.
const NoFault = "no fault"

// latencies groups the live deliveries by the fault at the time of their commit.
func (s *subject) latencies() []Latency {
	byPhase := make(map[string][]time.Duration)
	for _, n := range s.sessions {
		for _, it := range n.items {
			if it.kind != itemEvent {
				continue
			}
			rows := s.byID[it.id]
			if len(rows) == 0 || rows[0].means == nil {
				continue
			}
			w := s.writes[rows[0].means.op]
			if w == nil || w.Outcome != history.OK || w.End < n.opened {
				continue
			}
			phase := s.phaseAt(w.End)
			byPhase[phase] = append(byPhase[phase], time.Duration(max(0, it.t-w.End)))
		}
	}
	var all []Latency
	for _, phase := range slices.Sorted(maps.Keys(byPhase)) {
		d := byPhase[phase]
		slices.Sort(d)
		all = append(all, Latency{phase, len(d), d[len(d)/2], d[len(d)*99/100], d[len(d)-1]})
	}
	return all
}

// phaseAt names the fault at a moment.
func (s *subject) phaseAt(t int64) string {
	phase := NoFault
	for _, f := range s.Faults {
		if f.Phase != "apart" && f.Begin <= t && t <= f.End+int64(time.Second) {
			if phase != NoFault && phase != f.Name {
				return "several faults"
			}
			phase = f.Name
		}
	}
	return phase
}
