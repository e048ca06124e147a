package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// wellBy is how long servers may take until they are ready, at the beginning and
// after each fault.
const wellBy = 40 * time.Second

// errEnded is why a server is not ready that does not run.
var errEnded = errors.New("its log says why")

// allReady waits until every server is ready.
func (r *round) allReady(ctx context.Context) error {
	return await(ctx, r.wellBy, func() error {
		for _, s := range r.servers {
			if s.current().Ended() {
				return fmt.Errorf("%s has ended: %s; %w", s.name, s.current().Exit(), errEnded)
			}
			if err := s.ready(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// beginWell waits until the servers are ready for the first time. On a database of
// the round's own nothing but the servers can keep them from it, so it is noted as
// wrong when they run and are not: the round ends with that, and has a verdict.
func (r *round) beginWell(ctx context.Context) (well bool, err error) {
	record := history.Fault{Name: "start", Target: "servers", Begin: history.Now()}
	err = r.allReady(ctx)
	if err == nil || r.borrowed || errors.Is(err, errEnded) || ctx.Err() != nil {
		return err == nil, err
	}
	if r.grave != nil {
		err = fmt.Errorf("with %d dead changes: %w", deadPieces*deadPiece, err)
	}
	record.Breaks, record.Wrong, record.End = "P11", "no progress in time: "+err.Error(), history.Now()
	r.faults.Append(record)
	return false, nil
}

// wellAfter waits until the servers are well after a fault, and notes it when they
// are not.
func (r *round) wellAfter(ctx context.Context, record *history.Fault) bool {
	if ctx.Err() != nil {
		return true
	}
	err := r.allReady(ctx)
	if err != nil {
		record.Wrong = joinText(record.Wrong, "afterwards "+err.Error())
	}
	return err == nil
}
