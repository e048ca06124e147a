package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/taskfeed/taskfeed/internal/proc"
	"github.com/taskfeed/taskfeed/lab/verify/actor"
)

// serverCounts are the figures of /metrics that tell of a path which a client may
// never hear of: who does not read does not learn the code either.
var serverCounts = map[string]string{
	"close: too slow": "taskfeed_slow_closes_total",
	"close: no pong":  `taskfeed_closes_total{code="4009"}`,
}

// taken is the effect that a path is taken from now on, by a client that says so or
// by a server.
func (r *round) taken(ctx context.Context, path string) felt {
	clients, servers := r.clientsTook(path), r.serversCount(ctx, path)
	return func(ctx context.Context) (string, error) {
		if n := r.clientsTook(path) - clients; n > 0 {
			return fmt.Sprintf("%s: %d", path, n), nil
		}
		for s, now := range r.serversCount(ctx, path) {
			if before, known := servers[s]; known && now > before {
				return fmt.Sprintf("%s: %.0f", path, now-before), nil
			}
		}
		return "", fmt.Errorf("the path %q was not taken", path)
	}
}

// clientsTook is how often clients have taken a path so far.
func (r *round) clientsTook(path string) int64 {
	return sum(r.clients, func(s *actor.Status) int64 { return s.Paths[path] })
}

// serversCount is what the processes that run say of a path.
func (r *round) serversCount(ctx context.Context, path string) map[*proc.Process]float64 {
	counts := make(map[*proc.Process]float64)
	name := serverCounts[path]
	if name == "" {
		return counts
	}
	for _, s := range r.servers {
		p := s.current()
		if figures, err := s.metrics(ctx); err == nil {
			counts[p] = figures[name]
		}
	}
	return counts
}

// How long a round goes on for the sake of what it has not yet seen.
const drivePatience = time.Minute

// drive goes on until everything has happened that no fault brings about and that
// a round is nothing worth without. On a machine with time it has happened long
// since. What is still missing then is the checker's to say.
func (r *round) drive(ctx context.Context) {
	r.now("until all paths are taken")
	_ = await(ctx, drivePatience, func() error {
		err := r.missing()
		if err != nil {
			// Those who ask for everything replay, those who forget hear things twice,
			// and what is written meanwhile overtakes a transaction that is open.
			_ = tell(r.clients, actor.Command{Do: actor.DoStorm})
			if hold := r.hand.Hold(ctx, time.Second); hold != nil {
				err = errors.Join(err, hold)
			}
		}
		return err
	})
}

// missing says which path of any round was not taken so far, as far as that is
// known before the end.
func (r *round) missing() error {
	for _, path := range r.header.Paths {
		switch path {
		case "replay", "replay of many pages", "suppressed duplicate":
			if r.clientsTook(path) == 0 {
				return fmt.Errorf("the path %q was not taken", path)
			}
		case "late commit":
			if r.truth.late.Load() == 0 {
				return errors.New("no commit came late")
			}
		}
	}
	// Statuses come with a delay, and what counts is in the files.
	if n := sum(r.clients, func(s *actor.Status) int64 { return s.Deliveries }); n < leastDeliveries {
		return fmt.Errorf("%d events were delivered", n)
	}
	return nil
}
