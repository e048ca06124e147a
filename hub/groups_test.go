package hub

import (
	"context"
	"fmt"
	"testing"

	"github.com/taskfeed/taskfeed"
)

func TestFeedsOfGroupsAreOneFeed(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	alice := r.tap(t, SubscribeOptions{Filter: groups("alice", "team", "org")})
	bob := r.tap(t, SubscribeOptions{Filter: groups("bob", "team")})
	team := r.tap(t, SubscribeOptions{Filter: of("team")}) // a user's own feed can be a group's
	for _, s := range []*tap{alice, bob, team} {
		expect(t, s)
	}
	r.announce(progress(11, "team"), progress(12, "alice"), broadcast(13), progress(14, "org"), progress(15, "bob"), progress(16, "team"))
	expect(t, alice, "11", "12", "13", "14", "16")
	expect(t, bob, "11", "13", "15", "16")
	expect(t, team, "11", "13", "16")
	if got := r.Users(); len(got) != 3 || r.Stats().Users != 3 {
		t.Errorf("users %v, want the three that are connected: a group is none", got)
	}
}

// A group does not use up the connections of the user who has its name.
func TestConnectionsCountForTheUserNotTheGroup(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{MaxPerUser: 1})
	for i := range 3 {
		user := fmt.Sprintf("user-%d", i)
		release, err := r.Reserve(user)
		if err != nil {
			t.Fatalf("Reserve(%s): %v", user, err)
		}
		defer release()
		r.tap(t, SubscribeOptions{Filter: groups(user, "team")})
	}
	release, err := r.Reserve("team")
	if err != nil {
		t.Errorf("Reserve for the user who has the name of a group: %v", err)
	} else {
		release()
	}
}

func TestFeedsMayChange(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	s := r.tap(t, SubscribeOptions{Filter: groups("alice", "old"), After: from(0), WantLive: true})
	other := r.tap(t, SubscribeOptions{Filter: groups("bob", "new"), After: from(10)}) // keeps frames of the group
	expect(t, s, "live@10")
	r.announce(progress(11, "new"), progress(12, "old"))
	expect(t, s, "12")
	s.SetFeeds("alice", []string{"new", "alice", "new"})
	r.announce(progress(13, "old"), progress(14, "new"), progress(15, "alice"))
	expect(t, s, "14", "15")
	r.announce(progress(16, "new"))
	s.SetFeeds("alice", nil) // before it has read: the group is not its any more
	expect(t, s)
	expect(t, other, "11", "14", "16")
	s.Close()
	s.SetFeeds("alice", []string{"new"})
	audit(t, r.Hub)
}

// A page of the log or of the ring that was read with other feeds is not used.
func TestFeedsChangeWhileTheLogIsRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	r.log.commit(progress(3, "secret"), progress(4, "alice"), progress(5, "team"))
	s := r.tap(t, SubscribeOptions{Filter: groups("alice", "secret"), After: from(1)})
	r.log.answered = func(context.Context) error {
		s.SetFeeds("alice", []string{"team"})
		return nil
	}
	expect(t, s, "4", "5")
}

func TestRingHasFeedsOfGroups(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{RecentLogBytes: 6000, LastIDs: 100}) // few buckets: groups share them
	var want []string
	for i := range taskfeed.Cursor(12) {
		user := []string{"alice", "g1", "g2", "g3", "bob", ""}[i%6]
		e := progress(11+i, user)
		if user == "" {
			e = broadcast(11 + i)
		}
		if r.announce(e); user != "bob" && user != "g3" && e.ID > 14 {
			want = append(want, e.ID.String())
		}
	}
	r.announce(progress(23, "bob"))
	s := r.tap(t, SubscribeOptions{Filter: groups("alice", "g1", "g2"), After: from(14)})
	expect(t, s, want...)
	expect(t, r.tap(t, SubscribeOptions{Filter: groups("nobody", "none"), After: from(22)}))
	if got := r.Stats(); got.LogReads != 0 || got.Recalled != uint64(len(want)) || got.Unread != 1 {
		t.Errorf("%+v, want no read of the log, %d events of the ring and one subscriber that missed nothing", got, len(want))
	}
}
