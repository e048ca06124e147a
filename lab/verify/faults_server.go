package verify

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/internal/proc"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// finder picks the server to inject a fault into.
type finder func(*round, context.Context) (*server, error)

var serverFaults = []fault{
	{name: "kill-leader", says: "kill -9 of the server that leads", kind: kindServer, safe: true, paths: []string{"takeover"}, begin: killing((*round).leader)},
	{name: "kill-follower", says: "kill -9 of a server that follows", kind: kindServer, safe: true, begin: killing((*round).follower)},
	{name: "kill-in-drain", says: "SIGTERM of the leader, and kill -9 while it drains", kind: kindServer, safe: true, begin: killInDrain},
	{name: "stop-leader", says: "SIGSTOP of the leader until another has taken over, then SIGCONT", kind: kindServer, safe: true, needs: unlessBeforePublish, paths: []string{"takeover"}, begin: stopLeader},
	{name: "stop-follower", says: "SIGSTOP of a follower for 3 s, then SIGCONT", kind: kindServer, safe: true, begin: freezing((*round).follower)},
	{name: "starve-leader", says: "the leader runs only a fifth of the time, in slices, for 4 s", kind: kindServer, safe: true, begin: starveLeader},
	{name: "term-leader", says: "SIGTERM of the leader: 1012 to everybody and exit status 0", kind: kindServer, safe: true, paths: []string{"close: draining", "takeover"}, begin: terminating((*round).leader)},
	{name: "term-follower", says: "SIGTERM of a follower: 1012 to everybody and exit status 0", kind: kindServer, safe: true, paths: []string{"close: draining"}, begin: terminating((*round).follower)},
}

func killing(find finder) func(context.Context, *round, *history.Fault) (injection, error) {
	return func(ctx context.Context, r *round, f *history.Fault) (injection, error) {
		s, err := find(r, ctx)
		if err != nil {
			return injection{}, err
		}
		f.Target = s.name
		led := s.leads(ctx)
		s.current().Kill() // waits for its end
		d := injection{effect: happened("killed"), lasts: 1500 * time.Millisecond, undo: func(context.Context) error { return s.start() }}
		if led {
			d.effect = all(d.effect, r.succeeded(s))
		}
		return d, nil
	}
}

// killInDrain kills a server that has closed some of its connections but not all.
func killInDrain(ctx context.Context, r *round, f *history.Fault) (injection, error) {
	s, err := r.leader(ctx)
	if err != nil {
		return injection{}, err
	}
	if err := r.connected(ctx, s, 3); err != nil {
		return injection{}, err
	}
	f.Target = s.name
	closed := r.taken(ctx, "close: draining")
	p, before := s.current(), s.net.Open()
	p.Signal(syscall.SIGTERM)
	left := before
	for left >= before && !p.Ended() && pause.For(ctx, time.Millisecond) {
		left = s.net.Open()
	}
	p.Kill()
	killed := func(context.Context) (string, error) {
		if left == 0 || p.Err() == nil {
			return "", errors.New("it had ended before it could be killed")
		}
		return fmt.Sprintf("killed with %d of %d connections left", left, before), nil
	}
	return injection{effect: all(killed, closed), lasts: time.Second, patience: 3 * time.Second,
		undo: func(context.Context) error { return s.start() }}, nil
}

func terminating(find finder) func(context.Context, *round, *history.Fault) (injection, error) {
	return func(ctx context.Context, r *round, f *history.Fault) (injection, error) {
		s, err := find(r, ctx)
		if err != nil {
			return injection{}, err
		}
		if err := r.connected(ctx, s, 1); err != nil {
			return injection{}, err
		}
		f.Target = s.name
		p, parts := s.current(), []effect{r.taken(ctx, "close: draining")}
		if s.leads(ctx) {
			parts = append(parts, r.succeeded(s))
		}
		p.Signal(syscall.SIGTERM)
		// Closing the last connections may take as long as the drain once more, and a
		// frozen peer delays its close.
		if limit := drain + 10*time.Second; !p.Wait(limit) {
			f.Wrong = fmt.Sprintf("it did not end within %v of SIGTERM", limit)
			p.Kill()
		} else if p.Err() != nil {
			f.Wrong = "it ended with " + p.Exit()
		}
		return injection{effect: all(parts...), lasts: time.Second, undo: func(context.Context) error { return s.start() }}, nil
	}
}

// unlessBeforePublish leaves the fault out of a round of all faults in which another one
// does the same and more.
func unlessBeforePublish(r *round) string {
	if len(r.cfg.Faults) == 0 && needsEngine(1)(r) == "" {
		return "leader-freeze-before-publish does the same and more"
	}
	return ""
}

func stopLeader(ctx context.Context, r *round, f *history.Fault) (injection, error) {
	s, err := r.leader(ctx)
	if err != nil {
		return injection{}, err
	}
	f.Target = s.name
	return injection{effect: r.succeeded(s), lasts: stallTimeout, undo: freeze(s.current())}, nil
}

// freeze stops a process and returns a function that continues it.
func freeze(p *proc.Process) func(context.Context) error {
	p.Signal(syscall.SIGSTOP)
	return func(context.Context) error {
		p.Signal(syscall.SIGCONT)
		return nil
	}
}

func freezing(find finder) func(context.Context, *round, *history.Fault) (injection, error) {
	return func(ctx context.Context, r *round, f *history.Fault) (injection, error) {
		s, err := find(r, ctx)
		if err != nil {
			return injection{}, err
		}
		f.Target = s.name
		return injection{effect: silent(s), lasts: 3 * time.Second, undo: freeze(s.current())}, nil
	}
}

// silent is the effect that a server does not answer a request.
func silent(s *server) effect {
	return func(ctx context.Context) (string, error) {
		limited, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_, _, err := s.get(limited, "/healthz")
		if err == nil || limited.Err() == nil {
			return "", errors.New("it answers")
		}
		return "it does not answer", nil
	}
}

// The time slices in which a starved server runs and waits.
const (
	starveRuns   = 20 * time.Millisecond
	starveWaits  = 80 * time.Millisecond
	starveSlices = 40
)

// starveLeader is what happens on a machine that is much too small: the server does
// everything late, and must not close a connection for that.
func starveLeader(ctx context.Context, r *round, f *history.Fault) (injection, error) {
	s, err := r.leader(ctx)
	if err != nil {
		return injection{}, err
	}
	f.Target = s.name
	p := s.current()
	starve := func(ctx context.Context) (int, error) {
		resume := freeze(p)
		pause.For(ctx, starveWaits)
		if err := resume(ctx); err != nil || p.Ended() {
			return 0, errors.Join(err, errors.New("it has ended"))
		}
		return 1, nil
	}
	return injection{effect: times(starveSlices, starveRuns, "slices", starve), lasts: 4 * time.Second}, nil
}
