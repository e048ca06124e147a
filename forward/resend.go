package forward

import (
	"context"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store"
)

// Failures keeps the events that an endpoint did not take; *store.Store provides it.
type Failures interface {
	ForwardFailures(ctx context.Context, name string, after taskfeed.Cursor, limit int) ([]store.ForwardFailure, error)
	RetriedForwardFailure(ctx context.Context, name string, id taskfeed.Cursor, reason string) error
	DropForwardFailure(ctx context.Context, name string, id taskfeed.Cursor) error
}

const (
	resendPage    = 50 // failures that are in memory at the same time
	resendPatient = 10 // failures in a row after which the endpoint seems to be down
)

// Resent says what became of the failures of a forward.
type Resent struct {
	Delivered int
	Failed    int  // tried once and not taken
	Held      int  // not tried, because an earlier one of the user was not taken
	Stopped   bool // too many failed in a row: the rest was not tried
}

// resender sends failures again.
type resender struct {
	Resent
	name    string
	ledger  Failures
	post    *poster
	failing map[string]bool // users of whom one was not taken
	inARow  int
}

// Resend sends the failures of a forward again, once each, oldest first, and deletes those
// that are delivered. Of a user whose event fails again, the later ones wait. What the
// forwarder sends meanwhile may overtake them.
func Resend(ctx context.Context, ledger Failures, cfg Config) (Resent, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return Resent{}, err
	}
	p, err := newPoster(cfg)
	if err != nil {
		return Resent{}, err
	}
	defer p.close()
	r := &resender{name: cfg.Name, ledger: ledger, post: p, failing: make(map[string]bool)}
	after := taskfeed.Cursor(0)
	for {
		found, err := ledger.ForwardFailures(ctx, cfg.Name, after, resendPage)
		if err != nil || len(found) == 0 {
			return r.Resent, err
		}
		for _, f := range found {
			if after = f.EventID; r.failing[f.UserID] {
				r.Held++
			} else if err := r.again(ctx, f); err != nil || r.Stopped {
				return r.Resent, err
			}
		}
	}
}

func (r *resender) again(ctx context.Context, f store.ForwardFailure) error {
	o := r.post.post(ctx, messageOf(f))
	if o.delivered {
		r.Delivered++
		r.inARow = 0
		return r.ledger.DropForwardFailure(ctx, r.name, f.EventID)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.Failed++
	r.inARow++
	r.failing[f.UserID] = true
	r.Stopped = o.gone || r.inARow == resendPatient
	return r.ledger.RetriedForwardFailure(ctx, r.name, f.EventID, o.reason)
}
