package hub

import (
	"hash/maphash"
	"slices"
	"sync/atomic"

	"github.com/taskfeed/taskfeed"
)

// lastIDs knows, for each user, an id that none of the user's later events exceeds, so
// that a client that has missed nothing needs no read at all. Users share slots: each
// has one in both rows, and the lower id counts. A user who shares both with busier
// ones is taken to have missed something, and then reads for nothing.
//
// One caller at a time adds; reading needs no lock.
type lastIDs struct {
	seed  maphash.Seed
	floor atomic.Int64 // events up to it may not have been added
	cast  atomic.Int64 // the last broadcast
	rows  [2][]atomic.Int64
}

// newLastIDs returns a table with so many slots in each row; with 0 it knows nothing.
func newLastIDs(slots int) *lastIDs {
	l := &lastIDs{seed: maphash.MakeSeed()}
	if slots > 0 {
		l.rows = [2][]atomic.Int64{make([]atomic.Int64, slots), make([]atomic.Int64, slots)}
	}
	return l
}

// slots returns the user's slot in each row.
func (l *lastIDs) slots(userID string) (*atomic.Int64, *atomic.Int64) {
	h, n := maphash.String(l.seed, userID), uint64(len(l.rows[0]))
	return &l.rows[0][h&0xffffffff%n], &l.rows[1][h>>32%n]
}

// add notes the log's next event.
func (l *lastIDs) add(e *taskfeed.Event) {
	if len(l.rows[0]) == 0 {
		return
	}
	if e.Broadcast() {
		l.cast.Store(max(l.cast.Load(), int64(e.ID)))
		return
	}
	a, b := l.slots(e.UserID)
	a.Store(max(a.Load(), int64(e.ID)))
	b.Store(max(b.Load(), int64(e.ID)))
}

// jump says that events up to head may not have been added.
func (l *lastIDs) jump(head taskfeed.Cursor) { l.floor.Store(max(l.floor.Load(), int64(head))) }

// none reports whether certainly none of the events added after the cursor is in the
// feeds of the filter. False proves nothing.
func (l *lastIDs) none(f *taskfeed.Filter, after taskfeed.Cursor) bool {
	if len(l.rows[0]) == 0 || int64(after) < l.floor.Load() || l.cast.Load() > int64(after) {
		return false
	}
	return l.of(f.UserID) <= after && !slices.ContainsFunc(f.Feeds, func(id string) bool { return l.of(id) > after })
}

// of returns an id that no event of the user or group since the floor exceeds.
func (l *lastIDs) of(userID string) taskfeed.Cursor {
	a, b := l.slots(userID)
	return taskfeed.Cursor(min(a.Load(), b.Load()))
}
