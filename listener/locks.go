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

// Whoever may connect to the database may take the locks by which servers agree.
// So a server that cannot lead asks who leads, and says so where nobody does.

const (
	// leaderlessAfter is how long nobody may lead before that is a fault: another
	// leader takes over within a second. At its start a server knows of no leader
	// that could be about to be followed, and does not wait.
	leaderlessAfter = 5 * time.Second

	// checkLocksEvery is how often a leader looks who else has its locks, or awaits
	// them. Two looks must find a session.
	checkLocksEvery = 2 * time.Second
)

// lockWatch is what the last look at the locks said.
type lockWatch struct {
	mu      sync.Mutex
	unled   time.Time // since when nobody is known to lead; zero while somebody does
	ever    bool      // somebody has led since the start
	found   []locks.Found
	checked time.Time // by Run alone
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

// set replaces what was found and returns what is new of it.
func (w *lockWatch) set(found []locks.Found) (fresh []locks.Found) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range found {
		if !slices.Contains(w.found, f) {
			fresh = append(fresh, f)
		}
	}
	w.found = found
	return fresh
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

// checkLocks looks who has the locks and says of whom it has not said it yet. Only
// an error that ends the session is one: without the right to look, nobody can
// tell that nobody leads.
func (l *Listener) checkLocks(ctx context.Context, s Session) error {
	led, found, err := s.CheckLocks(ctx)
	if err != nil && (!s.Alive() || ctx.Err() != nil) {
		return err
	}
	l.locks.led(led || err != nil)
	for _, f := range l.locks.set(found) {
		l.cfg.Logger.Error("somebody who is no server keeps a lock of servers", "lock", f.Lock, "pid", f.PID, "role", f.Role,
			"application_name", f.Application, "has", f.Has, "since", f.Since, "fix", f.String())
	}
	return nil
}

// checkLocksOfLeader is checkLocks now and then, and again soon while there is
// something to say.
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
	return l.checkLocks(ctx, s)
}

// leaderless returns an error when this server follows nobody.
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
