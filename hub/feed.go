package hub

import (
	"cmp"
	"slices"

	"github.com/taskfeed/taskfeed"
)

// feed keeps the recent frames of one user, of the broadcasts, or of all users,
// for the subscribers that read from it. The hub's mutex guards it.
//
// While it has subscribers, each of its events with floor < id <= head has an
// entry. A feed without subscribers has no entries, and its floor has no meaning.
type feed struct {
	user     string // empty for the broadcasts and for all users
	reserved int    // reservations of the user
	conns    int    // the user's subscribers, also those that read another user's feed
	floor    taskfeed.Cursor
	subs     []*Subscriber
	entries  []entry // ascending by id
	bytes    int     // cost of the entries

	newer, older *feed // in feedList, while there are entries
}

// entry is a recent frame and the number of subscribers whose cursor is before it.
// That number never decreases from an entry to a later one, so the oldest entry is
// always the first to reach zero.
type entry struct {
	frame   *Frame
	waiting int
}

// after returns the entries beyond the cursor.
func (f *feed) after(c taskfeed.Cursor) []entry {
	n := len(f.entries)
	if n == 0 || f.entries[n-1].frame.ID <= c {
		return nil
	}
	i, _ := slices.BinarySearchFunc(f.entries, c+1, func(e entry, id taskfeed.Cursor) int {
		return cmp.Compare(e.frame.ID, id)
	})
	return f.entries[i:]
}

// offer gives the feed its next event, whose id is above the head. A nil frame
// means that the event was not encoded because the feed had no subscriber a moment
// ago; subscribers that have come since read the event from the log.
func (h *Hub) offer(f *feed, e *taskfeed.Event, frame *Frame) {
	if len(f.subs) == 0 {
		return
	}
	waiting := 0
	for _, s := range f.subs {
		if s.arrive(e) {
			waiting++
		}
	}
	if frame == nil {
		h.shed(f, len(f.entries))
		f.floor = e.ID
		return
	}
	if len(f.entries) == 0 {
		h.recent.push(f)
	}
	f.entries = append(f.entries, entry{frame, waiting})
	f.bytes += frame.cost()
	h.recentBytes += frame.cost()
	h.tidy(f)
	for f.bytes > h.cfg.FeedBytes {
		h.shed(f, 1)
	}
	for h.recentBytes > h.cfg.RecentBytes {
		h.shed(h.recent.oldest(), len(h.recent.oldest().entries))
	}
}

// pass notes that a subscriber's cursor moves on.
func (h *Hub) pass(f *feed, from, to taskfeed.Cursor) {
	entries := f.after(from)
	for i := range entries {
		if entries[i].frame.ID > to {
			break
		}
		entries[i].waiting--
	}
	if h.tidy(f) && len(f.entries) > 0 {
		h.recent.remove(f) // progress: others give way first
		h.recent.push(f)
	}
}

// tidy drops the entries that every subscriber has passed and reports whether
// there were any.
func (h *Hub) tidy(f *feed) bool {
	n := 0
	for n < len(f.entries) && f.entries[n].waiting == 0 {
		n++
	}
	h.drop(f, n)
	return n > 0
}

// shed drops the oldest n entries although subscribers have not passed them.
func (h *Hub) shed(f *feed, n int) {
	h.stats.Shed += uint64(n)
	h.drop(f, n)
}

// drop removes the oldest n entries; from now on only the log has them.
func (h *Hub) drop(f *feed, n int) {
	if n == 0 {
		return
	}
	for _, e := range f.entries[:n] {
		f.bytes -= e.frame.cost()
		h.recentBytes -= e.frame.cost()
	}
	f.floor = f.entries[n-1].frame.ID
	clear(f.entries[:n])
	f.entries = f.entries[n:]
	if len(f.entries) == 0 {
		f.entries = nil
		h.recent.remove(f)
	}
}

// feedList orders the feeds that have entries by their last progress. Its zero
// value is empty.
type feedList struct {
	first, last *feed // the longest and the shortest time without progress
}

func (l *feedList) oldest() *feed { return l.first }

func (l *feedList) push(f *feed) {
	f.older = l.last
	if l.last == nil {
		l.first = f
	} else {
		l.last.newer = f
	}
	l.last = f
}

func (l *feedList) remove(f *feed) {
	if f.older == nil {
		l.first = f.newer
	} else {
		f.older.newer = f.newer
	}
	if f.newer == nil {
		l.last = f.older
	} else {
		f.newer.older = f.older
	}
	f.newer, f.older = nil, nil
}
