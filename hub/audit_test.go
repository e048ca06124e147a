package hub

import (
	"testing"

	"github.com/taskfeed/taskfeed"
)

// failer is what testing.TB and *rapid.T share.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

var _ failer = testing.TB(nil)

// audit checks what must be true of the hub's fields whenever its mutex is free.
func audit(t failer, h *Hub) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	feeds := []*feed{&h.cast, &h.all}
	reserved, connected := 0, 0
	for user, f := range h.users {
		if f.user != user || f.conns == 0 && f.reserved == 0 && len(f.subs) == 0 {
			t.Fatalf("feed of %q is kept for %q with %d connections, %d reservations and no reader", f.user, user, f.conns, f.reserved)
		}
		reserved += f.reserved
		if f.conns > 0 {
			connected++
		}
		feeds = append(feeds, f)
	}
	if reserved != h.reserved || connected != h.connected {
		t.Fatalf("counted %d reservations and %d users, want %d and %d", h.reserved, h.connected, reserved, connected)
	}
	listed := map[*feed]bool{}
	for f := h.recent.first; f != nil; f = f.newer {
		listed[f] = true
	}
	total := 0
	for _, f := range feeds {
		auditFeed(t, h, f)
		if listed[f] != (len(f.entries) > 0) {
			t.Fatalf("feed %q with %d entries: in the list is %t", f.user, len(f.entries), listed[f])
		}
		delete(listed, f)
		total += f.bytes
	}
	if len(listed) > 0 {
		t.Fatalf("%d feeds in the list that are gone", len(listed))
	}
	if total != h.recentBytes || total > h.cfg.RecentBytes {
		t.Fatalf("frames cost %d, counted %d, want the same and at most %d", total, h.recentBytes, h.cfg.RecentBytes)
	}
}

func auditFeed(t failer, h *Hub, f *feed) {
	t.Helper()
	bytes, last := 0, f.floor
	for _, e := range f.entries {
		if e.frame.ID <= last || e.frame.ID > h.head {
			t.Fatalf("feed %q: entry %d after %d with head %d", f.user, e.frame.ID, last, h.head)
		}
		waiting := 0
		for _, s := range f.subs {
			if s.cursor < e.frame.ID {
				waiting++
			}
		}
		if waiting != e.waiting || waiting == 0 {
			t.Fatalf("feed %q: %d are counted to wait for %d, want %d and not 0", f.user, e.waiting, e.frame.ID, waiting)
		}
		last = e.frame.ID
		bytes += e.frame.cost()
	}
	if bytes != f.bytes || bytes > h.cfg.FeedBytes {
		t.Fatalf("feed %q costs %d, counted %d, want the same and at most %d", f.user, bytes, f.bytes, h.cfg.FeedBytes)
	}
	if len(f.entries) == 0 && f.entries != nil {
		t.Fatalf("feed %q is empty and keeps memory", f.user)
	}
	for i, s := range f.subs {
		if p := s.seatIn(f); p == nil || p.index != i {
			t.Fatalf("feed %q: subscriber %d does not know its place", f.user, i)
		}
		if s.closed {
			t.Fatalf("feed %q: subscriber %d is closed", f.user, i)
		}
		if s.parked && (len(f.after(s.cursor)) > 0 || s.position() < s.floor()) {
			t.Fatalf("feed %q: subscriber %d is parked at %d with more to read", f.user, i, s.cursor)
		}
	}
}

// auditLog checks that the recent frames are complete above the floors.
func auditLog(t failer, h *Hub, events []taskfeed.Event) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	check := func(f *feed, e *taskfeed.Event) {
		if f == nil || len(f.subs) == 0 || e.ID <= f.floor || e.ID <= h.floor || e.ID > h.head {
			return
		}
		if rest := f.after(e.ID - 1); len(rest) == 0 || rest[0].frame.ID != e.ID {
			t.Fatalf("feed %q with floor %d has no frame of %d", f.user, f.floor, e.ID)
		}
	}
	for i := range events {
		check(h.feedOf(&events[i]), &events[i])
		check(&h.all, &events[i])
	}
}

// auditRing checks that the ring has exactly the events between its floor and its head,
// and stays within its bounds.
func auditRing(t failer, r *ring, events []taskfeed.Event) {
	t.Helper()
	bytes := 0
	for _, s := range r.slabs {
		if s.used() > r.size {
			t.Fatalf("a slab of the ring has %d bytes, want at most %d", s.used(), r.size)
		}
		bytes += s.used()
	}
	at := r.floor
	for r.covers(at) {
		page, through, ok := r.after(&taskfeed.Filter{All: true}, at)
		if !ok || through < at {
			t.Fatalf("the ring covers %d, and answers %t, through %d", at, ok, through)
		}
		for _, e := range events {
			if e.ID <= at || e.ID > through {
				continue
			}
			if len(page) == 0 || page[0].ID != e.ID || page[0].UserID != e.UserID || string(page[0].Bytes) != string(newFrame(&e).Bytes) {
				t.Fatalf("the ring has after %d %v, want %d next", at, page, e.ID)
			}
			page = page[1:]
		}
		if len(page) > 0 {
			t.Fatalf("the ring has %d, which is not in the log", page[0].ID)
		}
		if at = through; at == r.head {
			return
		}
	}
}

// auditLastIDs checks that the table never claims that there is nothing where there is
// something.
func auditLastIDs(t failer, h *Hub, events []taskfeed.Event) {
	t.Helper()
	for _, f := range []taskfeed.Filter{of("alice"), of("bob"), of("nobody"), groups("alice", "team"), groups("nobody", "org", "team")} {
		for i := len(events) - 1; i >= 0; i-- {
			e := &events[i]
			if e.ID <= h.head && f.Match(e) {
				if h.last.none(&f, e.ID-1) {
					t.Fatalf("%+v is said to have nothing after %d", f, e.ID-1)
				}
				break
			}
		}
	}
}
