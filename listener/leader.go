package listener

import (
	"context"
	"sync"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/pause"
)

// lead moves changes until the session fails.
func (l *Listener) lead(ctx context.Context, s Session) error {
	l.locks.led(true)
	l.engine.led = time.Now()
	if err := l.takeOver(ctx, s); err != nil {
		return err
	}
	stop, err := l.tellLeading(ctx, s)
	if err != nil {
		return err
	}
	defer stop()
	l.stats.leader.Store(true)
	bell := doorbell{session: s, inUse: s.DoorbellInUse(), fallback: l.cfg.FallbackInterval, quickRing: l.quickRing, wakeups: &l.stats.wakeups}
	retry := newBackoff()
	for {
		found, err := l.look(ctx, s)
		switch {
		case err == nil:
			l.succeeded()
			retry.Reset()
		case over(ctx, s):
			return err
		default: // one statement failed: the session still has its lock
			l.failed(err)
			pause.For(ctx, retry.Next())
			continue
		}
		if err := s.AfterLook(ctx); err != nil {
			return err
		}
		l.maintain(ctx, s)
		if l.tellStalled(ctx, s) {
			continue
		}
		if err := l.checkLocksOfLeader(ctx, s); err != nil {
			return err
		}
		if err := bell.rest(ctx, found); err != nil {
			return err
		}
	}
}

// tellLeading calls Config.Leading beside the caller, until stop is called.
func (l *Listener) tellLeading(ctx context.Context, s Leader) (stop func(), err error) {
	if l.cfg.Leading == nil {
		return func() {}, nil
	}
	id, epoch, err := s.Lineage(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.cfg.Leading(ctx, id, epoch); err != nil && ctx.Err() == nil {
			l.cfg.Logger.Error("what runs beside the lead has failed", "error", err)
		}
	})
	return func() { cancel(); wg.Wait() }, nil
}

// over reports whether a session cannot go on after an error.
func over(ctx context.Context, s Session) bool { return !s.Alive() || ctx.Err() != nil }

// takeOver prepares this server to number events: everything that earlier leaders
// appended is published, and ids that clients may have seen are not used again.
func (l *Listener) takeOver(ctx context.Context, s interface {
	Leader
	Log
}) error {
	if _, err := l.catchUp(ctx, s); err != nil {
		return err
	}
	jumped, err := s.TakeOver(ctx, l.published)
	if err != nil {
		return err
	}
	if jumped {
		l.feed.ForgetLog()
		l.cfg.Logger.Warn("the database is not the one that the log was last written on: ids jumped", "seen", int64(l.published))
	}
	if err := s.Listen(ctx); err != nil {
		return err
	}
	l.cfg.Logger.Info("leading: this server is the sequencer", "after", int64(l.published), "doorbell", s.DoorbellInUse())
	l.maintained = time.Time{}
	return nil
}

// look moves and publishes all changes that are visible now, and returns how many
// there were.
func (l *Listener) look(ctx context.Context, s interface {
	Mover
	Log
}) (found int, err error) {
	if l.behind {
		if _, err := l.catchUp(ctx, s); err != nil {
			return 0, err
		}
	}
	l.behind = true // until everything that was moved has been published
	m, err := s.Move(ctx)
	if err != nil {
		return 0, err
	}
	if err := l.publishMoved(ctx, s, m); err != nil {
		return 0, err
	}
	found = m.Count
	if m.More {
		err = s.MoveBacklog(ctx, func(m taskfeed.Moved) error {
			found += m.Count
			return l.publishMoved(ctx, s, m)
		})
	}
	l.behind = err != nil
	return found, err
}

// publishMoved publishes what one move appended. Events that the move did not return
// are read from the log. While a backlog goes on, the feed may do without them; the
// last page is read, for clients that come back.
func (l *Listener) publishMoved(ctx context.Context, log Log, m taskfeed.Moved) error {
	l.stats.moves.Add(1)
	l.stats.captured.Add(uint64(m.Count))
	l.stats.progress()
	l.publish(m.Events)
	if !m.Partial() || m.More && l.skip(m.Last, m.Count-len(m.Events)) {
		return nil
	}
	_, err := l.catchUp(ctx, log)
	return err
}

// tellStalled makes changes for tasks that have stalled, and reports whether there is
// more to do at once: changes to move, or more such tasks.
func (l *Listener) tellStalled(ctx context.Context, m Maintainer) bool {
	after := l.cfg.StalledAfter
	if after <= 0 || time.Since(l.toldStalls) < min(max(after/10, l.cfg.FallbackInterval), time.Minute) {
		return false
	}
	told, more, err := m.TellStalled(ctx, after)
	if err != nil && ctx.Err() == nil {
		l.cfg.Logger.Warn("cannot look for stalled tasks; trying again later", "error", err)
	}
	if !more {
		l.toldStalls = time.Now()
	}
	l.stats.stalled.Add(uint64(told))
	return told > 0 || more
}

func (l *Listener) maintain(ctx context.Context, m Maintainer) {
	if time.Since(l.maintained) < l.cfg.MaintainInterval {
		return
	}
	l.maintained = time.Now()
	if err := m.Maintain(ctx, max(l.cfg.Retention, 0)); err != nil && ctx.Err() == nil {
		l.cfg.Logger.Warn("cannot maintain the log's partitions; trying again later", "error", err)
	}
}
