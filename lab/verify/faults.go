package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// fault is one kind of fault that a round can inject.
type fault struct {
	name string
	says string
	kind kind
	// safe: on a database of the user's own, it disturbs others no longer than the
	// crash of one server would.
	safe bool
	// companion: it may run beside faults of clients or of their network.
	companion bool
	// needs returns why the fault cannot run here, "" when it can; nil: it always can.
	needs func(*round) string
	// paths must have been taken by the end of a round with the fault.
	paths []string
	// begin injects the fault. Even with an error, the caller runs the injection's
	// undo.
	begin func(ctx context.Context, r *round, f *history.Fault) (injection, error)
}

// kind says which part of the system a fault affects. Two of one kind never run at
// once.
type kind string

const (
	kindServer   kind = "server"
	kindPostgres kind = "postgres"
	kindLink     kind = "link" // between servers and the database
	kindNet      kind = "net"  // between clients and servers
	kindBell     kind = "doorbell"
	kindData     kind = "data"   // transactions, locks
	kindSource   kind = "source" // attached tables
	kindClient   kind = "client"
	kindEngine   kind = "engine"
	kindGateway  kind = "gateway"
	kindForward  kind = "forward" // runs beside all others
	kindCluster  kind = "cluster" // runs alone
)

// catalogue lists the faults in the order of verify --list.
var catalogue = slices.Concat(serverFaults, postgresFaults, limitFaults, linkFaults, bellFaults, dataFaults, sourceFaults, netFaults, clientFaults, engineFaults, deadFaults, clusterFaults, forwardFaults)

// Fault describes a fault for people.
type Fault struct {
	Name, Says string
	Safe       bool // on a database of the user's own
}

// Faults lists all faults.
func Faults() []Fault {
	var all []Fault
	for _, f := range catalogue {
		all = append(all, Fault{Name: f.name, Says: f.says, Safe: f.safe})
	}
	return all
}

func without(names []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name })
}

// chosen returns the faults of this round.
func (r *round) chosen() []fault {
	return slices.DeleteFunc(slices.Clone(catalogue), func(f fault) bool { return !slices.Contains(r.header.Faults, f.name) })
}

// ordered returns the faults of this round in an order that the seed determines. With
// an old snapshot, the faults that it survives come first.
func (r *round) ordered() []fault {
	faults := r.chosen()
	r.rand.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
	if r.dead != nil {
		slices.SortStableFunc(faults, func(a, b fault) int { return cmp.Compare(a.place(), b.place()) })
	}
	return faults
}

// runFaults runs the faults alone and then several at once, and beside them those of
// forwards, which servers and clients do not feel.
func (r *round) runFaults(ctx context.Context) {
	var apart sync.WaitGroup
	enough := make(chan struct{})
	apart.Go(func() { r.runApart(ctx, enough) })
	r.runAlone(ctx)
	r.runMixed(ctx)
	close(enough)
	apart.Wait()
}

// runApart runs the faults of forwards once, and then again until it is enough.
func (r *round) runApart(ctx context.Context, enough <-chan struct{}) {
	faults := slices.DeleteFunc(r.chosen(), func(f fault) bool { return f.kind != kindForward })
	for first := true; len(faults) > 0; first = false {
		for _, f := range faults {
			if ctx.Err() != nil || !first && closed(enough) {
				return
			}
			r.inject(ctx, f, "apart")
			pause.For(ctx, time.Second)
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// runAlone runs the faults one at a time. It stops after a fault from which the
// servers do not recover.
func (r *round) runAlone(ctx context.Context) {
	faults, companions := r.split(slices.DeleteFunc(r.ordered(), func(f fault) bool { return f.kind == kindForward }))
	for i := 0; i < len(faults); i++ {
		f := faults[i]
		if ctx.Err() != nil || !r.removeDeadBefore(ctx, f) {
			return
		}
		beside := companions.take(f)
		r.now("alone %d/%d: %s", i+1, len(faults), names(append([]fault{f}, beside...)))
		r.stirJobs(f.kind == kindSource || r.rand.IntN(2) == 0)
		if !r.injectBeside(ctx, f, beside) {
			return
		}
		pause.For(ctx, 300*time.Millisecond)
		if i == len(faults)-1 { // nothing is left to run them beside
			faults, companions = append(faults, companions...), nil
		}
	}
	r.removeDeadBefore(ctx, fault{kind: kindCluster}) // any fault may come next
	r.stirJobs(true)
}

// injectBeside runs a fault, and at the same time those beside it.
func (r *round) injectBeside(ctx context.Context, f fault, beside []fault) (well bool) {
	var others sync.WaitGroup
	for _, o := range beside {
		others.Go(func() { r.inject(ctx, o, "beside") })
	}
	well = r.inject(ctx, f, "alone")
	others.Wait()
	return well
}

// window is how long one mixture of faults lasts.
const window = 10 * time.Second

// runMixed runs several faults at a time. A quarter of the windows have none, so that
// the system can recover.
func (r *round) runMixed(ctx context.Context) {
	faults := slices.DeleteFunc(r.chosen(), func(f fault) bool { return f.kind == kindCluster || f.kind == kindForward })
	if len(faults) == 0 {
		return
	}
	for end := time.Now().Add(r.cfg.Duration); time.Now().Before(end) && ctx.Err() == nil; {
		if r.rand.IntN(4) == 0 {
			r.now("mixed: nothing")
			pause.For(ctx, window/2)
			continue
		}
		mixture := r.mix(faults)
		r.now("mixed: %s", names(mixture))
		var all sync.WaitGroup
		for _, f := range mixture {
			after := time.Duration(r.rand.Int64N(int64(window / 3)))
			all.Go(func() {
				if pause.For(ctx, after) {
					r.inject(ctx, f, "mixed")
				}
			})
		}
		all.Wait()
		pause.For(ctx, time.Second)
	}
}

// mix picks two or three faults of different kinds.
func (r *round) mix(faults []fault) []fault {
	var mixture []fault
	want := 2 + r.rand.IntN(2)
	for _, i := range r.rand.Perm(len(faults)) {
		f := faults[i]
		if len(mixture) < want && !slices.ContainsFunc(mixture, func(o fault) bool { return o.kind == f.kind }) {
			mixture = append(mixture, f)
		}
	}
	return mixture
}

func names(faults []fault) string {
	text := ""
	for i, f := range faults {
		if i > 0 {
			text += " + "
		}
		text += f.name
	}
	return text
}

var errNoLeader = errors.New("no server led")

// leader finds the server that leads, waiting for one.
func (r *round) leader(ctx context.Context) (*server, error) {
	var found *server
	limit := patience
	if r.borrowed {
		limit = 3 * time.Second // a server of the user may lead there
	}
	err := await(ctx, limit, func() error {
		for _, s := range r.servers {
			if s.leads(ctx) {
				found = s
				return nil
			}
		}
		return errNoLeader
	})
	return found, err
}

// follower finds a server that does not lead. On a database of the user's own all of
// them may follow.
func (r *round) follower(ctx context.Context) (*server, error) {
	leader, err := r.leader(ctx)
	if err != nil && !r.borrowed {
		return nil, err
	}
	i := slices.IndexFunc(r.servers, func(s *server) bool { return s != leader })
	return r.servers[i], nil
}

// succeeded is the effect that another server leads.
func (r *round) succeeded(old *server) effect {
	return func(ctx context.Context) (string, error) {
		for _, s := range r.servers {
			if s != old && s.leads(ctx) {
				return s.name + " took over", nil
			}
		}
		return "", fmt.Errorf("no server took over from %s: %w", old.name, errNoLeader)
	}
}

// connected waits until at least so many clients are connected to a server through
// its proxy.
func (r *round) connected(ctx context.Context, s *server, least int) error {
	return await(ctx, patience, func() error {
		if n := s.net.Open(); n < least {
			return fmt.Errorf("%d clients are connected to %s", n, s.name)
		}
		return nil
	})
}
