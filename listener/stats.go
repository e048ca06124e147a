package listener

import (
	"sync/atomic"

	"github.com/taskfeed/taskfeed/internal/locks"
)

// Stats are figures since the start of the listener.
type Stats struct {
	Up       bool   // the last look went well and is fresh
	Leader   bool   // this server is the sequencer
	Wakeups  uint64 // times the doorbell woke it
	Moves    uint64 // moves made, empty ones among them
	Captured uint64 // changes moved into the log by this server

	// Intruders are sessions that are no server's and keep a lock of servers. Each
	// server knows those it has met.
	Intruders []locks.Found
}

type stats struct {
	leader                   atomic.Bool
	wakeups, moves, captured atomic.Uint64
	lookedAt                 atomic.Int64 // Unix nanoseconds of the last good look
}

// Stats returns the figures as they stand.
func (l *Listener) Stats() Stats {
	return Stats{
		Intruders: l.locks.all(),
		Up:        l.Ready() == nil,
		Leader:    l.stats.leader.Load(),
		Wakeups:   l.stats.wakeups.Load(),
		Moves:     l.stats.moves.Load(),
		Captured:  l.stats.captured.Load(),
	}
}
