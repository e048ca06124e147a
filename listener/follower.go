package listener

import (
	"context"
	"errors"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
)

// follow publishes what the leader appends until this server leads.
func (l *Listener) follow(ctx context.Context, s Session) error {
	if leads, err := l.seek(ctx, s); err != nil || leads {
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
		reads.done(found)
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
		if leads, err := l.seek(ctx, s); err != nil {
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
	// readPause is the least time between two reads of a follower while many events come:
	// one read takes what several moves have appended.
	readPause = 5 * time.Millisecond
	// rowPause is that time for each event of the last read, up to readPause. It is in
	// whole milliseconds, because a timer does not wait for less: so reads that bring few
	// events follow each other at once.
	rowPause = 200 * time.Microsecond
)

// reads are those of one follower.
type reads struct {
	last  time.Time
	pause time.Duration // between the last read and the next
}

// done notes the end of a read and how many events it found.
func (r *reads) done(found int) {
	r.last = time.Now()
	r.pause = min(time.Duration(found)*rowPause, readPause).Truncate(time.Millisecond)
}

// rest returns how long to wait after a ring before the next read.
func (r *reads) rest() time.Duration { return r.pause - time.Since(r.last) }

func (l *Listener) endStalledLeader(ctx context.Context, s Candidate) error {
	ended, err := s.EndStalledLeader(ctx)
	if ended {
		l.cfg.Logger.Warn("ended the session of a stalled leader")
	}
	return err
}
