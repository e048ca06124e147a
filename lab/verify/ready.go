package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// readyWithin is how long servers may take until they are ready, at the beginning and
// after each fault.
const readyWithin = 40 * time.Second

// errEnded is the error for a server that has ended.
var errEnded = errors.New("its log says why")

// allReady waits until every server is ready.
func (r *round) allReady(ctx context.Context) error {
	return await(ctx, r.readyWithin, func() error {
		for _, s := range r.all() {
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

// awaitFirstReady waits until the servers are ready for the first time. With a private
// database only the servers themselves can prevent that, so servers that run and do
// not become ready are a violation: it is recorded, and the round ends.
func (r *round) awaitFirstReady(ctx context.Context) (well bool, err error) {
	record := history.Fault{Name: "start", Target: "servers", Begin: history.Now()}
	err = r.allReady(ctx)
	if err == nil || r.borrowed || errors.Is(err, errEnded) || ctx.Err() != nil {
		return err == nil, err
	}
	if r.dead != nil {
		err = fmt.Errorf("with %d dead changes: %w", deadPieces*deadPiece, err)
	}
	record.Breaks, record.Wrong, record.End = "P11", "no progress in time: "+err.Error(), history.Now()
	r.faults.Append(record)
	return false, nil
}

// readyAfter waits until the servers are ready after a fault, and records it when they
// are not.
func (r *round) readyAfter(ctx context.Context, record *history.Fault) bool {
	if ctx.Err() != nil {
		return true
	}
	err := r.allReady(ctx)
	if err != nil {
		record.Wrong = joinText(record.Wrong, "afterwards "+err.Error())
	}
	return err == nil
}
