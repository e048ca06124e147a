package verify

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/taskfeed/taskfeed/internal/verify/history"
)

// finder picks the server that a fault is about.
type finder func(*round, context.Context) (*server, error)

var serverFaults = []fault{
	{name: "kill-leader", says: "kill -9 of the server that leads", kind: kindServer, safe: true, paths: []string{"takeover"}, run: killing((*round).leader)},
	{name: "kill-follower", says: "kill -9 of a server that follows", kind: kindServer, safe: true, run: killing((*round).follower)},
	{name: "kill-in-drain", says: "SIGTERM of the leader, and kill -9 while it drains", kind: kindServer, safe: true, run: killInDrain},
	{name: "stop-leader", says: "SIGSTOP of the leader until another has taken over, then SIGCONT", kind: kindServer, safe: true, paths: []string{"takeover"}, run: stopLeader},
	{name: "stop-follower", says: "SIGSTOP of a follower for 3 s, then SIGCONT", kind: kindServer, safe: true, run: stopFollower},
	{name: "starve-leader", says: "the leader runs a fifth of the time only, in slices, for 4 s", kind: kindServer, safe: true, run: starveLeader},
	{name: "term-leader", says: "SIGTERM of the leader: 1012 to everybody and exit status 0", kind: kindServer, safe: true, paths: []string{"close: draining", "takeover"}, run: terminating((*round).leader)},
	{name: "term-follower", says: "SIGTERM of a follower: 1012 to everybody and exit status 0", kind: kindServer, safe: true, paths: []string{"close: draining"}, run: terminating((*round).follower)},
}

func killing(find finder) func(context.Context, *round, *history.Fault) error {
	return func(ctx context.Context, r *round, f *history.Fault) error {
		s, err := find(r, ctx)
		if err != nil {
			return err
		}
		f.Target = s.name
		s.current().kill()
		f.Fired = true
		pause(ctx, 1500*time.Millisecond)
		return s.start()
	}
}

// killInDrain kills a server that has closed some of its connections and not yet
// the others.
func killInDrain(ctx context.Context, r *round, f *history.Fault) error {
	s, err := r.leader(ctx)
	if err != nil {
		return err
	}
	f.Target = s.name
	p := s.current()
	p.signal(syscall.SIGTERM)
	pause(ctx, drain/3)
	f.Fired = !p.ended()
	p.kill()
	pause(ctx, time.Second)
	return s.start()
}

func terminating(find finder) func(context.Context, *round, *history.Fault) error {
	return func(ctx context.Context, r *round, f *history.Fault) error {
		s, err := find(r, ctx)
		if err != nil {
			return err
		}
		f.Target = s.name
		p := s.current()
		p.signal(syscall.SIGTERM)
		f.Fired = true
		// Closing the last connections may take as long again as the drain, and a
		// frozen peer the patience of a close.
		if limit := drain + 10*time.Second; !p.wait(limit) {
			f.Wrong = fmt.Sprintf("it did not end within %v of SIGTERM", limit)
			p.kill()
		} else if p.err != nil {
			f.Wrong = "it ended with " + p.exit()
		}
		pause(ctx, time.Second)
		return s.start()
	}
}

func stopLeader(ctx context.Context, r *round, f *history.Fault) error {
	s, err := r.leader(ctx)
	if err != nil {
		return err
	}
	f.Target = s.name
	s.signal(syscall.SIGSTOP)
	defer s.signal(syscall.SIGCONT)
	err = r.awaitOtherLeader(ctx, s, 15*time.Second)
	f.Fired = err == nil
	pause(ctx, 500*time.Millisecond)
	return err
}

func stopFollower(ctx context.Context, r *round, f *history.Fault) error {
	s, err := r.follower(ctx)
	if err != nil {
		return err
	}
	f.Target = s.name
	s.signal(syscall.SIGSTOP)
	defer s.signal(syscall.SIGCONT)
	f.Fired = true
	pause(ctx, 3*time.Second)
	return nil
}

// The slices in which a starved server runs and does not.
const (
	starveRuns  = 20 * time.Millisecond
	starveWaits = 80 * time.Millisecond
)

// starveLeader is what a server on a machine that is much too small meets: it is
// late with everything, and nobody must be closed for that.
func starveLeader(ctx context.Context, r *round, f *history.Fault) error {
	s, err := r.leader(ctx)
	if err != nil {
		return err
	}
	f.Target = s.name
	p := s.current()
	defer p.signal(syscall.SIGCONT)
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end) && ctx.Err() == nil; {
		p.signal(syscall.SIGSTOP)
		pause(ctx, starveWaits)
		p.signal(syscall.SIGCONT)
		pause(ctx, starveRuns)
	}
	f.Fired = true
	return nil
}
