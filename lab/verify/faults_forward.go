package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

var forwardFaults = []fault{
	{name: "forward-kill", says: "kill -9 of the process that forwards, while the endpoint takes nothing; another with the same name takes over", kind: kindForward, needs: needsForwards, paths: []string{"forward: other process"}, begin: killForward},
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
	if err := r.forwards.holdBack(ctx); err != nil {
		return injection{}, err
	}
	p.current().Kill() // waits for its end
	return injection{effect: r.forwards.tookOver(p), undo: func(context.Context) error { return p.start() }}, nil
}

// holdBack has the receiver take nothing for a while, and returns when there are events
// that were not taken and the cursor was kept since then.
func (fs *forwards) holdBack(ctx context.Context) error {
	const lasts = forwardGiveUp / 2 // nothing is given up
	before := fs.to.refused()
	fs.to.goDown(lasts)
	err := await(ctx, lasts, func() error {
		if fs.to.refused() == before {
			return errors.New("no request came")
		}
		return nil
	})
	pause.For(ctx, 1200*time.Millisecond) // the cursor is kept once a second
	return err
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
