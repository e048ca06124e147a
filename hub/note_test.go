package hub

import (
	"testing"

	"github.com/taskfeed/taskfeed"
)

func readFrame(through taskfeed.Cursor) []byte { return taskfeed.AppendRead(nil, through) }

func expectNotes(t *testing.T, s *tap, want ...string) {
	t.Helper()
	var got []string
	for frames := next(t, s); len(frames) > 0; frames = next(t, s) {
		for _, f := range frames {
			got = append(got, string(f.Bytes))
		}
	}
	if len(got) != len(want) {
		t.Fatalf("frames %q, want %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("frame %d is %s, want %s", i, got[i], want[i])
		}
	}
	audit(t, s.hub)
}

// A note wakes a parked subscriber once, moves no cursor, and the latest of a type counts.
func TestNotes(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	s, other := r.live(t, "alice"), r.live(t, "alice")
	s.Tell(taskfeed.TypeFeedRead, readFrame(3))
	s.Tell(taskfeed.TypeFeedReadRefused, []byte(`{"type":"feed_read_refused"}`))
	s.Tell(taskfeed.TypeFeedRead, readFrame(4))
	expectWakes(t, s, 1)
	expectWakes(t, other, 0)
	expectNotes(t, s, `{"type":"feed_read_refused"}`, `{"type":"feed_read","through":4}`)
	if got := s.Cursor(); got != 10 {
		t.Errorf("the cursor is %d, want 10 as before", got)
	}
	r.announce(progress(11, "alice"))
	expectWakes(t, s, 2)
	s.Tell(taskfeed.TypeFeedRead, readFrame(5)) // before Next: no further wake
	expectWakes(t, s, 2)
	frames := next(t, s)
	if len(frames) != 1 || frames[0].Type != taskfeed.TypeFeedRead {
		t.Fatalf("first frames %v, want the note", frames)
	}
	expect(t, s, "11")
}

// Nothing is kept for a subscriber that is closed.
func TestNotesOfClosed(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	s := r.live(t, "alice")
	s.Tell(taskfeed.TypeFeedRead, readFrame(3))
	s.Close()
	s.Tell(taskfeed.TypeFeedRead, readFrame(4))
	if len(r.notes) != 0 {
		t.Errorf("notes of %d subscribers are kept, want none", len(r.notes))
	}
	if got := r.Connections("alice"); got != 0 {
		t.Errorf("%d connections, want 0", got)
	}
}
