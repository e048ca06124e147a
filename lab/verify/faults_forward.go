package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

var forwardFaults = []fault{
	{name: "forward-kill", says: "kill -9 of the process that forwards; another with the same name takes over", kind: kindForward, needs: needsForwards, paths: []string{"forward: other process"}, begin: killForward},
	{name: "forward-stop", says: "SIGSTOP of the process that forwards until another has taken over, then SIGCONT", kind: kindForward, needs: needsForwards, paths: []string{"forward: other process"}, begin: stopForward},
	{name: "forward-term", says: "SIGTERM of the process that forwards: exit status 0, and another takes over", kind: kindForward, needs: needsForwards, paths: []string{"forward: other process"}, begin: termForward},
	{name: "forward-refused", says: "the endpoint of forwards closes every connection for 5 s", kind: kindForward, needs: needsForwards, paths: []string{"forward: given up"}, begin: refuseForward},
}

func needsForwards(r *round) string {
	if r.forwardsRun() {
		return ""
	}
	return "nothing is forwarded in this round"
}

func killForward(ctx context.Context, r *round, f *history.Fault) (injection, error) {
	p, err := r.forwards.holder(ctx)
	if err != nil {
		return injection{}, err
	}
	f.Target = p.name
	p.current().Kill() // waits for its end
	return injection{effect: r.forwards.tookOver(p), undo: func(context.Context) error { return p.start() }}, nil
}

func stopForward(ctx context.Context, r *round, f *history.Fault) (injection, error) {
	p, err := r.forwards.holder(ctx)
	if err != nil {
		return injection{}, err
	}
	f.Target = p.name
	return injection{effect: r.forwards.tookOver(p), undo: freeze(p.current())}, nil
}

func termForward(ctx context.Context, r *round, f *history.Fault) (injection, error) {
	p, err := r.forwards.holder(ctx)
	if err != nil {
		return injection{}, err
	}
	f.Target, f.Wrong = p.name, p.end()
	return injection{effect: r.forwards.tookOver(p), undo: func(context.Context) error { return p.start() }}, nil
}

// refuseForward lasts longer than an event is tried.
func refuseForward(_ context.Context, r *round, _ *history.Fault) (injection, error) {
	const lasts = forwardGiveUp + 2*time.Second
	before := r.forwards.to.refused()
	r.forwards.to.goDown(lasts)
	return injection{lasts: lasts, effect: func(context.Context) (string, error) {
		n := r.forwards.to.refused() - before
		if n == 0 {
			return "", errors.New("no request came")
		}
		return fmt.Sprintf("%d requests were refused and more", n), nil
	}}, nil
}
