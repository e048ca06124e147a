package server

import (
	"context"
	"sync"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/relay"
	"github.com/taskfeed/taskfeed/store"
)

// looksLog is what looks reads; *store.Store provides it.
type looksLog interface {
	commandLog
	erasureLog
	// LogState returns the name of the log and where it ends.
	LogState(ctx context.Context) (store.LogState, error)
}

const (
	// lookFresh is how long what a look found holds for gateways: this server looks each
	// commandInterval.
	lookFresh = 3 * commandInterval / 2
	// nameFresh is how long the name of the log does. It changes with a failover, which
	// ends connections, so that looks fail.
	nameFresh = 10 * time.Second
)

// looks remembers what this server's own looks at commands and erasures have found.
// Gateways look as often, and get that while it is fresh, so that they cost the database
// nothing. What a gateway is told can be lookFresh old, and no older.
type looks struct {
	log looksLog

	mu       sync.Mutex
	commands remembered[int64] // after this one there were none
	erasures remembered[int64]
	name     remembered[relay.Lineage]
}

// remembered is a value and when it was read.
type remembered[T any] struct {
	value T
	at    time.Time // zero: never
}

func (r *remembered[T]) fresh(limit time.Duration) bool {
	return !r.at.IsZero() && time.Since(r.at) < limit
}

// CommandsAfter is a look of this server.
func (l *looks) CommandsAfter(ctx context.Context, id int64) ([]taskfeed.Command, error) {
	began := time.Now()
	commands, err := l.log.CommandsAfter(ctx, id)
	l.note(err, func() {
		l.commands = remembered[int64]{}
		if len(commands) == 0 {
			l.commands = remembered[int64]{id, began}
		}
	})
	return commands, err
}

// Erasures is a look of this server.
func (l *looks) Erasures(ctx context.Context) (int64, error) {
	began := time.Now()
	n, err := l.log.Erasures(ctx)
	l.note(err, func() { l.erasures = remembered[int64]{n, began} })
	return n, err
}

// note remembers the outcome of a read, and after an error nothing: the database may be
// another one.
func (l *looks) note(err error, keep func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.commands, l.erasures, l.name = remembered[int64]{}, remembered[int64]{}, remembered[relay.Lineage]{}
		return
	}
	keep()
}

// noCommandsAfter reports whether a fresh look found none after exactly this one. A reader
// that is elsewhere may have to start over.
func (l *looks) noCommandsAfter(id int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.commands.fresh(lookFresh) && l.commands.value == id
}

func (l *looks) knownErasures() (n int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.erasures.value, l.erasures.fresh(lookFresh)
}

// lineage returns the name of the log.
func (l *looks) lineage(ctx context.Context) (relay.Lineage, error) {
	l.mu.Lock()
	known := l.name
	l.mu.Unlock()
	if known.fresh(nameFresh) {
		return known.value, nil
	}
	began := time.Now()
	state, err := l.log.LogState(ctx)
	name := stateOf(state).Lineage
	l.note(err, func() { l.name = remembered[relay.Lineage]{name, began} })
	return name, err
}
