package listener

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/taskfeed/taskfeed/internal/locks"
)

// Stats are figures since the start of the listener.
type Stats struct {
	Up       bool   // the last look succeeded and is recent
	Leader   bool   // this server is the sequencer
	Wakeups  uint64 // times that the doorbell woke it
	Moves    uint64 // moves, empty ones included
	Captured uint64 // changes that this server moved into the log
	Stalled  uint64 // changes that this server made for stalled tasks

	// Intruders are sessions that hold a lock of taskfeed's without being a server.
	// Each server knows those that it has met.
	Intruders []locks.Found
}

type stats struct {
	leader                   atomic.Bool
	wakeups, moves, captured atomic.Uint64
	stalled                  atomic.Uint64
	lookedAt                 atomic.Int64 // Unix nanoseconds of the last progress
}

// progress notes that the feed moves on. Long work calls it again and again.
func (s *stats) progress() { s.lookedAt.Store(time.Now().UnixNano()) }

// Stats returns the current figures.
func (l *Listener) Stats() Stats {
	return Stats{
		Intruders: l.locks.all(),
		Up:        l.Ready() == nil,
		Leader:    l.stats.leader.Load(),
		Wakeups:   l.stats.wakeups.Load(),
		Moves:     l.stats.moves.Load(),
		Captured:  l.stats.captured.Load(),
		Stalled:   l.stats.stalled.Load(),
	}
}

// succeeded notes that the feed is up to date now.
func (l *Listener) succeeded() {
	l.stats.progress()
	if l.failure.Swap(nil) != nil {
		l.cfg.Logger.Info("the feed works again")
	}
}

// failed notes what stops the feed, and logs it unless it was the last failure too.
func (l *Listener) failed(err error) {
	text := err.Error()
	if old := l.failure.Swap(&text); old == nil || *old != text {
		l.cfg.Logger.Warn("the feed has stopped; trying again", "error", err)
	}
}

// staleAfter is the greatest age of the last progress at which the feed is ready.
const staleAfter = 5 * time.Second

// Ready returns nil while the feed is up to date, else what is wrong.
func (l *Listener) Ready() error {
	if text := l.failure.Load(); text != nil {
		return errors.New(*text)
	}
	if err := l.leaderless(); err != nil {
		return err
	}
	looked := l.stats.lookedAt.Load()
	if looked == 0 {
		return errors.New("the feed has not started yet")
	}
	if age := time.Since(time.Unix(0, looked)); age > staleAfter+l.cfg.FallbackInterval {
		return fmt.Errorf("the last look at the database was %s ago", age.Round(time.Second))
	}
	return nil
}
