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
	var tried, searched time.Time
	for {
		found, err := l.catchUp(ctx, s)
		if err != nil {
			return err
		}
		l.succeeded()
		if rings.fruitless(found) {
			pause.For(ctx, maxPause)
		}
		rang, err := s.Wait(ctx, l.cfg.TakeoverInterval)
		if err != nil {
			return err
		}
		if rings.rested(rang); rang {
			l.stats.wakeups.Add(1)
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

func (l *Listener) endStalledLeader(ctx context.Context, s Candidate) error {
	ended, err := s.EndStalledLeader(ctx)
	if ended {
		l.cfg.Logger.Warn("ended the session of a stalled leader")
	}
	return err
}
