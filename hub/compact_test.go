package hub

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/taskfeed/taskfeed"
)

// story is a task that was started, progressed n times, and began again when it was
// stalled; another that was completed and deleted; progress alone of a third; and what
// belongs to no task. It begins with event 11.
func story(n int) (events []taskfeed.Event) {
	add := func(task string, kind taskfeed.Type) {
		e := progress(taskfeed.Cursor(11+len(events)), "alice")
		e.TaskID, e.Type = task, kind
		events = append(events, e)
	}
	add("t1", taskfeed.TypeTaskStarted) // 11
	add("", "mail")
	add("t2", taskfeed.TypeTaskStarted)
	add("t2", taskfeed.TypeTaskCompleted)
	add("t1", taskfeed.TypeTaskStalled)
	add("t1", taskfeed.TypeTaskQueued) // 16
	add("t2", taskfeed.TypeTaskDeleted)
	add("", "mail")
	for range n {
		add("t3", taskfeed.TypeTaskProgress)
		add("t1", taskfeed.TypeTaskProgress)
	}
	add("t1", taskfeed.TypeTaskStalled)
	return events
}

func compact(f taskfeed.Filter) taskfeed.Filter {
	f.Compact = true
	return f
}

// A replay of the log, of the ring and of shared frames has of each task its last state
// and what came after it of progress, and everything that is no task's. What is live is
// not left out.
func TestCompactReplay(t *testing.T) {
	t.Parallel()
	events := story(3)
	want := []string{"12", "16", "17", "18", "23", "24", "25", "live@25"}
	for name, cfg := range map[string]Config{"log": {}, "ring": withRing()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, cfg)
			r.announce(events...)
			s := r.back(t, compact(of("alice")), 10)
			expect(t, s, want...)
			if reads := r.log.readCount(); name == "ring" && reads != 0 {
				t.Errorf("%d reads of the log, want none", reads)
			}
			r.announce(live(26), live(27))
			expect(t, s, "26", "27")
			expect(t, r.back(t, compact(of("alice")), 16), "17", "18", "23", "24", "25", "27", "live@27")
		})
	}
	t.Run("shared frames", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, Config{})
		slow := r.live(t, "alice") // for whom the frames are kept
		r.announce(events...)
		s := r.back(t, compact(of("alice")), 10)
		expect(t, s, want...)
		if reads := r.log.readCount(); reads != 0 {
			t.Errorf("%d reads of the log, want none", reads)
		}
		all := []string{}
		for _, e := range events {
			all = append(all, e.ID.String())
		}
		expect(t, slow, all...)
		r.announce(live(26), live(27))
		expect(t, s, "26", "27")
	})
}

func live(id taskfeed.Cursor) taskfeed.Event {
	e := progress(id, "alice")
	e.TaskID = "t4"
	return e
}

// A filter of types leaves out what an event outweighs that the client does not get.
func TestCompactTypes(t *testing.T) {
	t.Parallel()
	started := compact(of("alice"))
	started.Types = []taskfeed.Type{taskfeed.TypeTaskStarted}
	for name, cfg := range map[string]Config{"log": {}, "ring": withRing()} {
		r := newRig(t, cfg)
		r.announce(story(3)...)
		t.Run(name, func(t *testing.T) { expect(t, r.back(t, started, 10), "11", "13", "live@25") })
	}
}

// The frames of ten thousand events of fifty tasks fit into one page, also where they come
// from the ring, and the task of one user is not that of another.
func TestCompactRing(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{RecentLogBytes: 16 << 20, LastIDs: 1 << 10})
	var events []taskfeed.Event
	for i := range 10_000 {
		e := progress(taskfeed.Cursor(11+i), []string{"alice", "team"}[i/5%2])
		e.TaskID = fmt.Sprint("t", i/10%25)
		if i%100 == 7 {
			e.Type = taskfeed.TypeTaskStarted
		}
		events = append(events, e)
	}
	r.announce(events...)
	s := r.back(t, compact(groups("alice", "team")), 10)
	last, n := map[string]taskfeed.Cursor{}, 0
	for frames := next(t, s); len(frames) > 0; frames = next(t, s) {
		for _, f := range frames {
			if n++; f.Type != taskfeed.TypeFeedLive {
				last[f.UserID+f.TaskID] = f.ID
			}
		}
	}
	if n > 101 || len(last) != 50 || r.log.readCount() != 0 {
		t.Errorf("%d frames of %d tasks after %d reads of the log, want at most 100 and feed_live, of 50, after none", n, len(last), r.log.readCount())
	}
	for _, e := range events[len(events)-250:] {
		if e.ID > last[e.UserID+e.TaskID] {
			t.Errorf("%s of %s is at %d, want at %d", e.TaskID, e.UserID, last[e.UserID+e.TaskID], e.ID)
		}
	}
}

// checkCompact fails if a page of the log or of the ring has a frame of a task before one
// that says as much.
func checkCompact(t *rapid.T, page []*Frame) {
	event := func(f *Frame) *taskfeed.Event {
		return &taskfeed.Event{ID: f.ID, UserID: f.UserID, TaskID: f.TaskID, Type: f.Type}
	}
	for i, f := range page {
		for _, later := range page[i+1:] {
			if f.Replayed && outweighs(event(later), event(f)) {
				t.Fatalf("%s %d of %s came before %s %d", f.Type, f.ID, f.TaskID, later.Type, later.ID)
			}
		}
	}
}

// needless reports whether s may be spared an event: it wants no more than it needs, and
// an event that comes, or one that comes after that, says as much of the task.
func (m *model) needless(s *modelSub, e *taskfeed.Event) bool {
	return s.opts.Filter.Compact && slices.ContainsFunc(m.log.events, func(later taskfeed.Event) bool {
		return s.opts.Filter.Match(&later) && outweighs(&later, e)
	})
}
