package listener

import (
	"context"
	"errors"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
)

// follow publishes what the leader appends until this server leads.
func (l *Listener) follow(ctx context.Context, s Session) error {
	if leads, err := s.TryLead(ctx); err != nil || leads {
		return err
	}
	// The locks are checked before this server is ready: there may be no leader.
	if err := errors.Join(l.checkLocks(ctx, s), s.Follow(ctx)); err != nil {
		return err
	}
	l.cfg.Logger.Info("following the log")
	var rings rings
	var reads reads
	var tried, searched time.Time
	for {
		found, err := l.catchUp(ctx, s)
		if err != nil {
			return err
		}
		l.succeeded()
		reads.done()
		if rings.fruitless(found) {
			pause.For(ctx, maxPause)
		}
		rang, err := s.Wait(ctx, l.cfg.TakeoverInterval)
		if err != nil {
			return err
		}
		if rings.rested(rang); rang {
			l.stats.wakeups.Add(1)
			pause.For(ctx, reads.rest())
			if time.Since(tried) < l.cfg.TakeoverInterval {
				continue
			}
		}
		tried = time.Now()
		if leads, err := s.TryLead(ctx); err != nil {
			return err
		} else if leads {
			return s.Unfollow(ctx)
		}
		if time.Since(searched) < l.cfg.FallbackInterval {
			continue
		}
		searched = time.Now()
		if err := errors.Join(l.endStalledLeader(ctx, s), l.checkLocks(ctx, s), s.Follow(ctx)); err != nil {
			return err
		}
	}
}

const (
	// readPause is the least time between two reads of a follower that is rung all the
	// time: one read takes what several moves have appended.
	readPause = 5 * time.Millisecond
	// maxQuickReads is how many reads in a row may come sooner.
	maxQuickReads = 3
)

// reads are those of one follower.
type reads struct {
	last  time.Time
	quick int // rings in a row that came within readPause of a read
}

// done notes the end of a read.
func (r *reads) done() { r.last = time.Now() }

// rest returns how long to wait after a ring before the next read. A ring that comes by
// itself is answered at once.
func (r *reads) rest() time.Duration {
	early := readPause - time.Since(r.last)
	if early <= 0 {
		r.quick = 0
		return 0
	}
	r.quick = min(r.quick+1, maxQuickReads+1)
	if r.quick <= maxQuickReads {
		return 0
	}
	return early
}

func (l *Listener) endStalledLeader(ctx context.Context, s Candidate) error {
	ended, err := s.EndStalledLeader(ctx)
	if ended {
		l.cfg.Logger.Warn("ended the session of a stalled leader")
	}
	return err
}
