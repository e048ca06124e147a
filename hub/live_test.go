package hub

import (
	"testing"

	"github.com/taskfeed/taskfeed"
)

func TestPublishReachesTheUser(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	alice, bob := r.live(t, "alice"), r.live(t, "bob")

	r.announce(progress(11, "alice"), progress(12, "bob"), progress(13, "carol"), progress(14, "alice"))
	expectWakes(t, alice, 1)
	expectWakes(t, bob, 1)
	expect(t, alice, "11", "14")
	expect(t, bob, "12")
	if got := r.log.readCount(); got != 0 {
		t.Errorf("the log was read %d times, want 0", got)
	}
}

func TestWakeComesOnceForEachParking(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	s := r.tap(t, SubscribeOptions{Filter: of("alice")})
	r.announce(progress(11, "alice"))
	expectWakes(t, s, 0) // it has not parked yet
	expect(t, s, "11")
	r.announce(progress(12, "alice"))
	r.announce(progress(13, "alice"))
	expectWakes(t, s, 1)
	next(t, s) // it has not parked again
	r.announce(progress(14, "alice"))
	expectWakes(t, s, 1)
	expect(t, s, "14")
	r.announce(progress(15, "bob"))
	expectWakes(t, s, 1)
	r.announce(broadcast(16))
	expectWakes(t, s, 2)
}

func TestNextBeforeWakeReads(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	s := r.live(t, "alice")
	expect(t, s)
	r.announce(progress(11, "alice"))
	expectWakes(t, s, 1)
}

func TestConnectionsShareFrames(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	taps := []*tap{r.live(t, "alice"), r.live(t, "alice"), r.live(t, "bob"),
		r.tap(t, SubscribeOptions{Filter: taskfeed.Filter{All: true}})}
	r.announce(progress(11, "alice"), broadcast(12))
	frames := make([][]*Frame, len(taps))
	for i, s := range taps {
		frames[i] = next(t, s)
	}
	if got, want := frames[1][0], frames[0][0]; got != want {
		t.Errorf("the user's second connection got frame %p, want %p", got, want)
	}
	if got, want := frames[3][0], frames[0][0]; got != want {
		t.Errorf("the connection to all users got frame %p, want %p", got, want)
	}
	for i, f := range frames {
		if got, want := f[len(f)-1], frames[0][1]; got != want {
			t.Errorf("connection %d got the broadcast as %p, want %p", i, got, want)
		}
	}
}

func TestNobodyConnectedMeansNoFrames(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	release, err := r.Reserve("carol")
	if err != nil {
		t.Fatalf("Reserve: %v", err)
	}
	defer release()
	batch := []taskfeed.Event{progress(11, "carol"), broadcast(12), progress(13, "dave")}
	var frames [publishChunk]*Frame
	r.encode(batch, &frames)
	for i := range batch {
		if frames[i] != nil {
			t.Errorf("event %d was encoded", batch[i].ID)
		}
	}
	r.announce(batch...)
	if got := r.Stats().RecentBytes; got != 0 {
		t.Errorf("recent frames cost %d, want 0", got)
	}
	if got, want := r.Stats().Head, taskfeed.Cursor(13); got != want {
		t.Errorf("head %d, want %d", got, want)
	}
	audit(t, r.Hub)
}

func TestFramesAreDroppedOnceAllHavePassed(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	fast, slow := r.live(t, "alice"), r.live(t, "alice")
	r.announce(progress(11, "alice"), broadcast(12), progress(13, "alice"))
	kept := r.Stats().RecentBytes
	expect(t, fast, "11", "12", "13")
	if got := r.Stats().RecentBytes; got != kept {
		t.Errorf("with one to go frames cost %d, want %d", got, kept)
	}
	expect(t, slow, "11", "12", "13")
	if got := r.Stats().RecentBytes; got != 0 {
		t.Errorf("at the end frames cost %d, want 0", got)
	}
}

func TestCloseGivesUpFrames(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	stays, goes := r.live(t, "alice"), r.live(t, "alice")
	r.announce(progress(11, "alice"), broadcast(12))
	expect(t, stays, "11", "12")
	goes.Close()
	goes.Close()
	audit(t, r.Hub)
	if got := r.Stats().RecentBytes; got != 0 {
		t.Errorf("frames cost %d, want 0", got)
	}
	if _, err := goes.Next(t.Context()); err != ErrClosed {
		t.Errorf("Next after Close: %v, want %v", err, ErrClosed)
	}
	r.announce(progress(13, "alice"))
	expectWakes(t, goes, 1) // for 11, before it was closed
}

func TestFiltersNarrow(t *testing.T) {
	t.Parallel()
	other := func(id taskfeed.Cursor) taskfeed.Event {
		e := progress(id, "alice")
		e.TaskID, e.Type = "other", taskfeed.TypeTaskStarted
		return e
	}
	cases := map[string]taskfeed.Filter{
		"by task":          {UserID: "alice", TaskID: "task-alice"},
		"by type":          {UserID: "alice", Types: []taskfeed.Type{taskfeed.TypeTaskProgress}},
		"of all users":     {All: true, TaskID: "task-alice"},
		"of all, by admin": {All: true, UserID: "admin", TaskID: "task-alice"},
	}
	for name, filter := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, Config{})
			s := r.tap(t, SubscribeOptions{Filter: filter})
			expect(t, s)
			r.announce(other(11), broadcast(12), other(13))
			expectWakes(t, s, 0)
			r.announce(progress(14, "alice"), other(15))
			expectWakes(t, s, 1)
			expect(t, s, "14")

			// It has passed everything but events that it does not want.
			r.announce(progress(16, "alice"))
			next(t, s)
			r.announce(other(17), broadcast(18))
			expect(t, s)
			if got, want := s.Cursor(), taskfeed.Cursor(18); got != want {
				t.Errorf("cursor %d, want %d", got, want)
			}
		})
	}
}

func TestAllUsersSeesEverything(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	admin := r.tap(t, SubscribeOptions{Filter: taskfeed.Filter{All: true, UserID: "admin"}})
	expect(t, admin)
	r.announce(progress(11, "alice"), broadcast(12), progress(13, "bob"), progress(14, "admin"))
	expect(t, admin, "11", "12", "13", "14")
	expectWakes(t, admin, 1)
}

func TestPublishSkipsWhatIsKnown(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	s := r.live(t, "alice")
	batch := []taskfeed.Event{progress(9, "alice"), progress(11, "alice"), progress(12, "alice")}
	r.announce(batch[:2]...)
	r.announce(batch...)
	expect(t, s, "11", "12")
	if got, want := r.Stats().Published, uint64(2); got != want {
		t.Errorf("published %d events, want %d", got, want)
	}
}

func TestLargeBatchComesInPages(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	s := r.live(t, "alice")
	var batch []taskfeed.Event
	for id := taskfeed.Cursor(11); len(batch) < 2*pageFrames+1; id++ {
		batch = append(batch, progress(id, "alice"))
	}
	r.announce(batch...)
	expectWakes(t, s, 1)
	seen := taskfeed.Cursor(10)
	for _, want := range []int{pageFrames, pageFrames, 1, 0} {
		frames := next(t, s)
		if len(frames) != want {
			t.Errorf("a page has %d frames, want %d", len(frames), want)
		}
		for _, f := range frames {
			if seen++; f.ID != seen {
				t.Fatalf("frame %d, want %d", f.ID, seen)
			}
		}
		audit(t, r.Hub)
	}
}

func TestLargeFramesComeInSmallPages(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{FeedBytes: 4 << 20})
	s := r.live(t, "alice")
	for id := taskfeed.Cursor(11); id < 16; id++ {
		e := progress(id, "alice")
		e.Data = append(append([]byte(`{"message":"`), make([]byte, pageBytes/2)...), `"}`...)
		r.announce(e)
	}
	for _, want := range []int{2, 2, 1, 0} {
		if got := len(next(t, s)); got != want {
			t.Errorf("a page has %d frames, want %d", got, want)
		}
	}
}

// A feed that appears between the two passes of Publish has no frame of the event.
func TestSubscriberWhoComesDuringPublishMissesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	parked, behind := r.live(t, "alice"), r.live(t, "alice")
	r.announce(progress(11, "alice"))
	expect(t, parked, "11")
	e := progress(12, "alice")
	r.log.commit(e)
	r.mu.Lock()
	r.place(&e, nil)
	r.unlockAndWake()
	expectWakes(t, parked, 2)
	r.announce(progress(13, "alice"))
	expect(t, parked, "12", "13")
	expect(t, behind, "11", "12", "13")
}

func TestWakeMayUseTheHub(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	var s *Subscriber
	var got []string
	s, err := r.Subscribe(SubscribeOptions{Filter: of("alice"), Wake: func() {
		frames, err := s.Next(t.Context())
		if err != nil {
			t.Errorf("Next: %v", err)
		}
		got = append(got, show(t, frames)...)
		r.Stats()
		s.Close()
	}})
	if err != nil {
		t.Fatalf("Subscribe: %v", err)
	}
	if frames, err := s.Next(t.Context()); len(frames) > 0 || err != nil {
		t.Fatalf("Next: %v, %v, want neither", frames, err)
	}
	r.announce(progress(11, "alice"))
	if len(got) != 1 || got[0] != "11" {
		t.Errorf("frames %v, want [11]", got)
	}
	audit(t, r.Hub)
}

// The cursor also moves over events that the subscriber does not want.
func TestCursorOfASubscriber(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	s := r.live(t, "alice")
	check := func(want taskfeed.Cursor) {
		t.Helper()
		if got := s.Cursor(); got != want {
			t.Errorf("cursor %d, want %d", got, want)
		}
	}
	check(10)
	r.announce(progress(11, "bob"))
	check(11)
	r.announce(progress(12, "alice"), progress(13, "bob"))
	check(11)
	next(t, s)
	check(13)
	expect(t, s)
	r.announce(progress(14, "bob"))
	s.Close()
	r.announce(progress(15, "alice"))
	check(14)
}

// A large batch is not handed over where few are connected: each reads its own events.
func TestSkipLeavesEventsToTheLog(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	alice, bob := r.live(t, "alice"), r.live(t, "bob")
	r.log.commit(progress(11, "alice"), progress(12, "carol"), broadcast(13))
	if r.Skip(13, 2*eventsPerRead-1) {
		t.Errorf("%d events were skipped, which two subscribers take longer to read", 2*eventsPerRead-1)
	}
	expectWakes(t, alice, 0)
	if !r.Skip(13, 2*eventsPerRead) {
		t.Errorf("%d events were not skipped for two subscribers", 2*eventsPerRead)
	}
	expectWakes(t, alice, 1)
	expect(t, alice, "11", "13")
	expect(t, bob, "13")
	r.announce(progress(14, "alice"))
	expect(t, alice, "14")

	r.tap(t, SubscribeOptions{Filter: taskfeed.Filter{All: true}})
	if r.Skip(20, 1000*eventsPerRead) {
		t.Error("events were skipped that somebody wants all of")
	}
}
