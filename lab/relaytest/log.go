package relaytest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/relay"
)

// Log is a log in memory, as a core reads it. Its events are of alice, of bob and for all,
// by turns.
type Log struct {
	lineage relay.Lineage

	mu     sync.Mutex
	events []taskfeed.Event
}

// NewLog returns an empty log.
func NewLog(lineage relay.Lineage) *Log { return &Log{lineage: lineage} }

// Commit appends events and returns them.
func (l *Log) Commit(n int) []taskfeed.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range n {
		id := taskfeed.Cursor(len(l.events) + 1)
		user := []string{"alice", "bob", ""}[id%3]
		l.events = append(l.events, taskfeed.Event{ID: id, UserID: user, Type: "note", Data: []byte(`{"a":1}`), Timestamp: time.UnixMicro(time.Now().UnixMicro())})
	}
	return slices.Clone(l.events[len(l.events)-n:])
}

// Last returns the id of the last event.
func (l *Log) Last() taskfeed.Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return taskfeed.Cursor(len(l.events))
}

// IDs returns the events of a user after an id.
func (l *Log) IDs(user string, after taskfeed.Cursor) (ids []taskfeed.Cursor) {
	events, _, _, _ := l.After(context.Background(), taskfeed.Filter{UserID: user}, after, 1<<20)
	for _, e := range events {
		ids = append(ids, e.ID)
	}
	return ids
}

// After implements hub.Log.
func (l *Log) After(_ context.Context, f taskfeed.Filter, after taskfeed.Cursor, limit int) (page []taskfeed.Event, through taskfeed.Cursor, more bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events[after:] {
		if f.Match(&e) {
			if page = append(page, e); len(page) == limit {
				return page, e.ID, true, nil
			}
		}
	}
	return page, 0, false, nil
}

// Head implements hub.Log.
func (l *Log) Head(context.Context) (taskfeed.Cursor, error) { return l.Last(), nil }

// State implements relay.Source.
func (l *Log) State(context.Context) (relay.State, error) {
	return relay.State{Lineage: l.lineage, Last: l.Last(), Head: l.Last()}, nil
}

// Page implements relay.Source.
func (l *Log) Page(ctx context.Context, f taskfeed.Filter, after taskfeed.Cursor, limit int) (relay.State, relay.Page, error) {
	state, _ := l.State(ctx)
	events, through, more, err := l.After(ctx, f, after, limit)
	return state, relay.Page{Events: events, Through: through, More: more}, err
}

// Lineage implements relay.Source.
func (l *Log) Lineage(context.Context) (relay.Lineage, error) { return l.lineage, nil }

// CommandsAfter implements relay.Source.
func (l *Log) CommandsAfter(context.Context, int64) ([]taskfeed.Command, error) { return nil, nil }

// LastCommand implements relay.Source.
func (l *Log) LastCommand(context.Context) (int64, error) { return 0, nil }

// Erasures implements relay.Source.
func (l *Log) Erasures(context.Context) (int64, error) { return 0, nil }
