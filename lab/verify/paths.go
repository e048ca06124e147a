package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/taskfeed/taskfeed/internal/proc"
	"github.com/taskfeed/taskfeed/lab/verify/actor"
)

// serverCounts are metrics of paths that a client may not notice: a client that does
// not read does not get the close code either.
var serverCounts = map[string]string{
	"close: too slow": "taskfeed_slow_closes_total",
	"close: no pong":  `taskfeed_closes_total{code="4009"}`,
}

// taken is the effect that a path is taken after this call, as a client or a server
// reports it.
func (r *round) taken(ctx context.Context, path string) effect {
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

// clientsTook returns how often clients have taken a path so far.
func (r *round) clientsTook(path string) int64 {
	return sum(r.clients, func(s *actor.Status) int64 { return s.Paths[path] })
}

// serversCount returns how often the running servers have taken a path.
func (r *round) serversCount(ctx context.Context, path string) map[*proc.Process]float64 {
	counts := make(map[*proc.Process]float64)
	name := serverCounts[path]
	if name == "" {
		return counts
	}
	for _, s := range r.all() {
		p := s.current()
		if figures, err := s.metrics(ctx); err == nil {
			counts[p] = figures[name]
		}
	}
	return counts
}

// drivePatience is how long drive may take.
const drivePatience = time.Minute

// drive continues until the paths are taken that no fault causes and without which a
// round is void. On a fast machine they already are. The judge reports what is still
// missing afterwards.
func (r *round) drive(ctx context.Context) {
	r.now("until all paths are taken")
	_ = await(ctx, drivePatience, func() error {
		err := r.missing()
		if err != nil {
			// Reconnecting makes the clients with cursor 0 replay and the forgetful ones
			// get duplicates. Other commits overtake the open transaction.
			_ = tell(r.clients, actor.Command{Do: actor.DoStorm})
			if hold := r.writer.Hold(ctx, time.Second); hold != nil {
				err = errors.Join(err, hold)
			}
		}
		return err
	})
}

// missing returns an error for a path that has not been taken yet, as far as that is
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
				return errors.New("there was no late commit")
			}
		}
	}
	// The status of clients is delayed; the judge counts from the history.
	if n := sum(r.clients, func(s *actor.Status) int64 { return s.Deliveries }); n < leastDeliveries {
		return fmt.Errorf("%d events were delivered", n)
	}
	return nil
}
