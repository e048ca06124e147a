package hub

import "testing"

// A client that wants less progress gets all of it in its replay, also what another client
// has kept in memory; live it gets the last.
func TestReplayIsNotThinned(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	r.tap(t, SubscribeOptions{Filter: of("alice")}) // reads nothing
	r.announce(progress(11, "alice"), progress(12, "alice"), progress(13, "alice"))
	thin := r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(10), WantLive: true, Doze: func() {}})
	expect(t, thin, "11", "12", "13", "live@13")
	expectReads(t, r, 0)
	r.announce(progress(14, "alice"), progress(15, "alice"))
	expect(t, thin, "15")
}
