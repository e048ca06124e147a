package hub

import (
	"slices"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed"
)

// back returns a subscriber that comes back with a cursor.
func (r *rig) back(t testing.TB, f taskfeed.Filter, after taskfeed.Cursor) *tap {
	t.Helper()
	return r.tap(t, SubscribeOptions{Filter: f, After: from(after), WantLive: true})
}

func expectReads(t testing.TB, r *rig, want int) {
	t.Helper()
	if got := r.log.readCount(); got != want {
		t.Errorf("%d reads of the log, want %d", got, want)
	}
}

func withRing() Config { return Config{RecentLogBytes: 1 << 20, LastIDs: 1 << 10} }

func TestAReturningClientIsServedFromTheRing(t *testing.T) {
	t.Parallel()
	r := newRig(t, withRing())
	r.announce(progress(11, "alice"), progress(12, "bob"), broadcast(13), progress(14, "alice"), progress(15, "bob"))
	done := progress(16, "alice")
	done.Type = taskfeed.TypeTaskCompleted
	done.TaskID = "other"
	r.announce(done, progress(17, "bob"))

	narrowed := of("alice")
	narrowed.Types = []taskfeed.Type{taskfeed.TypeTaskCompleted}
	task := of("alice")
	task.TaskID = "task-alice"
	for _, tt := range []struct {
		name   string
		filter taskfeed.Filter
		after  taskfeed.Cursor
		want   []string
	}{
		{"everything since the start", of("alice"), 10, []string{"11", "13", "14", "16", "live@17"}},
		{"what comes after the cursor, not at it", of("alice"), 11, []string{"13", "14", "16", "live@17"}},
		{"a cursor between its events", of("alice"), 12, []string{"13", "14", "16", "live@17"}},
		{"only a broadcast", of("carol"), 12, []string{"13", "live@17"}},
		{"some types", narrowed, 10, []string{"16", "live@17"}},
		{"one task", task, 11, []string{"14", "live@17"}},
		{"all users", taskfeed.Filter{All: true}, 12, []string{"13", "14", "15", "16", "17", "live@17"}},
		{"nothing missed", of("alice"), 16, []string{"live@17"}},
		{"nothing ever", of("dora"), 14, []string{"live@17"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			expect(t, r.back(t, tt.filter, tt.after), tt.want...)
			expectReads(t, r, 0)
		})
	}
	frames := next(t, r.back(t, of("alice"), 10))
	if got, want := string(frames[0].Bytes), string(newFrame(&r.log.events[0]).Bytes); got != want || !frames[0].Replayed || frames[0].UserID != "alice" {
		t.Errorf("frame %+v, want %s, replayed, of alice", frames[0], want)
	}
}

func TestWhatTheRingDoesNotKnowIsReadFromTheLog(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		prepare func(*rig)
		after   taskfeed.Cursor
		want    []string
	}{
		{"before the server started", func(*rig) {}, 9, []string{"11", "live@11"}},
		{"everything that is kept", func(*rig) {}, 0, []string{"11", "live@11"}},
		{"before a jump of the head", func(r *rig) {
			r.log.commit(progress(12, "alice"))
			r.SetHead(12)
		}, 11, []string{"12", "live@12"}},
		{"erased frames", func(r *rig) {
			r.ForgetFrames()
			r.log.events = nil // "taskfeed forget" has erased them
		}, 10, []string{"live@11"}},
		{"another log", func(r *rig) {
			r.ForgetLog()
			r.log.events = []taskfeed.Event{progress(10, "alice")}
		}, 9, []string{"10", "live@11"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, withRing())
			r.announce(progress(11, "alice"))
			tt.prepare(r)
			expect(t, r.back(t, of("alice"), tt.after), tt.want...)
			expectReads(t, r, 1)
		})
	}
}

func TestNothingMissedIsKnownAlsoOfAFullRing(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{RecentLogBytes: 4000, LastIDs: 1 << 10})
	for id := range taskfeed.Cursor(1000) {
		r.announce(progress(11+id, "busy"))
	}
	expect(t, r.back(t, of("alice"), 11), "live@1010")
	expectReads(t, r, 0)
	r.ForgetLog()
	expect(t, r.back(t, of("alice"), 1009), "live@1010")
	expectReads(t, r, 1)
}

func TestAPageOfTheRingIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{RecentLogBytes: 16 << 20})
	large := []byte(`{"message":"` + strings.Repeat("x", 100_000) + `"}`)
	var want []string
	for id := taskfeed.Cursor(11); id < 2011; id += 2 {
		mine := progress(id, "alice")
		if id > 1500 && id%16 == 1 {
			mine.Data = large
		}
		r.announce(mine, progress(id+1, "bob"))
		want = append(want, mine.ID.String())
	}
	s := r.back(t, of("alice"), 10)
	var got []string
	for len(got) <= len(want) {
		frames := next(t, s)
		if len(frames) == 0 {
			break
		}
		bytes := 0
		for _, f := range frames[:len(frames)-1] {
			bytes += len(f.Bytes)
		}
		if len(frames) > pageFrames+1 || bytes >= pageBytes {
			t.Errorf("a page of %d frames, %d bytes before the last", len(frames), bytes)
		}
		if held, used := r.pages.Used(), size(frames); held != used && held != 0 {
			t.Errorf("%d bytes of memory are held for a page of %d", held, used)
		}
		got = append(got, show(t, frames)...)
	}
	if want = append(want, "live@2010"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	expectReads(t, r, 0)
	if got := r.Stats().Recalled; got != 1000 {
		t.Errorf("%d events counted as recalled, want 1000", got)
	}
}

// TestALongWayBackIsTheLogs: the ring gives up before it has held up its readers for long.
func TestALongWayBackIsTheLogs(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{RecentLogBytes: 64 << 20})
	for id := taskfeed.Cursor(11); id <= 11+maxWalk; id++ {
		r.announce(progress(id, "alice"))
	}
	next(t, r.back(t, of("alice"), 11))
	expectReads(t, r, 0)
	next(t, r.back(t, of("alice"), 10))
	expectReads(t, r, 1)
}
