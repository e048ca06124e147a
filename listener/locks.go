package listener

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/locks"
)

// Any session of the database can take the advisory locks by which servers agree.
// So a server that cannot lead asks who does, and reports it when nobody does.

const (
	// leaderlessAfter is how long a database may be without a leader before that is
	// a fault: normally another server takes over within a second. A server that has
	// just started and has never seen a leader reports the fault at once.
	leaderlessAfter = 5 * time.Second

	// checkLocksEvery is how often a leader checks who else holds its locks or waits
	// for them. A session counts when two checks have found it.
	checkLocksEvery = 2 * time.Second
)

// lockWatch is the result of the last check of the locks.
type lockWatch struct {
	mu      sync.Mutex
	unled   time.Time // since when nobody is known to lead; zero while somebody does
	ever    bool      // somebody has led since this server started
	found   []locks.Found
	checked time.Time // when a leader last checked; owned by Run
}

// led notes whether somebody leads, this server or another.
func (w *lockWatch) led(yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case yes:
		w.unled, w.ever = time.Time{}, true
	case w.unled.IsZero():
		w.unled = time.Now()
	}
}

// set replaces the intruders found and returns those that are new.
func (w *lockWatch) set(found []locks.Found) (added []locks.Found) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range found {
		if !slices.Contains(w.found, f) {
			added = append(added, f)
		}
	}
	w.found = found
	return added
}

func (w *lockWatch) all() []locks.Found {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.found)
}

// leaderless returns for how long nobody has been known to lead, and whether that
// is a fault.
func (w *lockWatch) leaderless() (since time.Duration, fault bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unled.IsZero() {
		return 0, false
	}
	since = time.Since(w.unled)
	return since, !w.ever || since > leaderlessAfter
}

// checkLocks checks who holds the locks and logs each intruder once. It returns an
// error only when the session cannot go on: without the privilege to look, nobody
// can tell that there is no leader.
func (l *Listener) checkLocks(ctx context.Context, s Session) error {
	seen, err := s.CheckLocks(ctx)
	if err != nil && over(ctx, s) {
		return err
	}
	l.locks.led(seen.Led || err != nil)
	l.engine.others = seen.Engine
	for _, f := range l.locks.set(seen.Intruders) {
		l.cfg.Logger.Error("a session that is not a taskfeed server holds one of taskfeed's locks", "lock", f.Lock, "pid", f.PID, "role", f.Role,
			"application_name", f.Application, "has", f.Has, "since", f.Since, "fix", f.String())
	}
	return l.tellEngine(ctx, s)
}

// checkLocksOfLeader calls checkLocks every checkLocksEvery, and more often while
// there are intruders.
func (l *Listener) checkLocksOfLeader(ctx context.Context, s Session) error {
	now := time.Now()
	every := checkLocksEvery
	if len(l.locks.all()) > 0 {
		every = l.cfg.FallbackInterval
	}
	if now.Sub(l.locks.checked) < every {
		return nil
	}
	l.locks.checked = now
	if err := l.checkLocks(ctx, s); err != nil {
		return err
	}
	return l.yield()
}

// leaderless returns an error when no server leads.
func (l *Listener) leaderless() error {
	since, fault := l.locks.leaderless()
	if !fault {
		return nil
	}
	message := fmt.Sprintf("no server leads for %s, so no change becomes an event", since.Round(time.Second))
	for _, f := range l.locks.all() {
		if f.Lock == "leader" {
			message += ": " + f.String()
		}
	}
	return &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: message}
}
