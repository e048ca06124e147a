package hub

import (
	"testing"

	"github.com/taskfeed/taskfeed"
)

// A gap between ids that is known to be empty costs nobody a read of the log.
func TestPublishFramesUpToAnId(t *testing.T) {
	t.Parallel()
	cfg := withRing()
	cfg.LastIDs = -1
	r := newRig(t, cfg)
	live := r.live(t, "alice")
	e := progress(11, "alice")
	r.log.commit(e)
	r.PublishFrames([]Frame{*newFrame(&e)}, 20)
	expectWakes(t, live, 1)
	expect(t, live, "11")
	if got := r.Stats().Head; got != 20 {
		t.Errorf("head %d, want 20", got)
	}
	expect(t, r.back(t, of("alice"), 15), "live@20")
	expect(t, r.back(t, taskfeed.Filter{All: true}, 10), "11", "live@20")
	expectReads(t, r, 0)
	if got := r.RecentFloor(); got != 10 {
		t.Errorf("recent frames after %d, want 10", got)
	}
}

// After a fork, nobody gets an event that the log has lost, although another connection
// has still to read it from the shared frames.
func TestForgetLogDropsSharedFrames(t *testing.T) {
	t.Parallel()
	r := newRig(t, withRing())
	behind := r.live(t, "alice")
	r.announce(progress(11, "alice"))
	r.log.events = nil
	r.ForgetLog()
	expect(t, r.back(t, of("alice"), 10), "live@11")
	expect(t, behind)
	r.announce(progress(12, "alice"))
	expect(t, behind, "12")
}
