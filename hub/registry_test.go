package hub

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/taskfeed/taskfeed"
)

func TestReserveKeepsTheLimits(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{MaxPerUser: 2, MaxTotal: 3})
	reserve := func(user string) func() {
		t.Helper()
		release, err := r.Reserve(user)
		if err != nil {
			t.Fatalf("Reserve(%q): %v", user, err)
		}
		audit(t, r.Hub)
		return release
	}
	first, second := reserve("alice"), reserve("alice")
	_, err := r.Reserve("alice")
	expectCode(t, err, taskfeed.CodeTooManyConnections)
	third := reserve("bob")
	_, err = r.Reserve("carol")
	expectCode(t, err, taskfeed.CodeUnavailable)
	audit(t, r.Hub)

	first()
	first() // does nothing
	_, err = r.Reserve("bob")
	if err != nil {
		t.Errorf("Reserve after one release: %v", err)
	}
	_, err = r.Reserve("alice")
	expectCode(t, err, taskfeed.CodeUnavailable)
	second()
	third()
	audit(t, r.Hub)
	if got, want := r.Stats().Reserved, 1; got != want {
		t.Errorf("%d reservations, want %d", got, want)
	}
}

func TestReserveWithoutLimits(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{MaxPerUser: -1, MaxTotal: -1})
	for range 100 {
		if _, err := r.Reserve("alice"); err != nil {
			t.Fatalf("Reserve: %v", err)
		}
	}
}

func TestReserveHasNoRace(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{MaxPerUser: 7})
	var granted atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := r.Reserve("alice"); err == nil {
				granted.Add(1)
			}
		})
	}
	wg.Wait()
	if got, want := granted.Load(), int64(7); got != want {
		t.Errorf("%d of 50 reservations granted, want %d", got, want)
	}
}

func TestNobodyComesBeforeTheHeadIsKnown(t *testing.T) {
	t.Parallel()
	h, err := New(&memLog{}, Config{})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	_, err = h.Reserve("alice")
	expectCode(t, err, taskfeed.CodeUnavailable)
	_, err = h.Subscribe(SubscribeOptions{Filter: of("alice"), Wake: func() {}})
	expectCode(t, err, taskfeed.CodeUnavailable)
	audit(t, h)

	h.SetHead(0) // an empty log
	r := &rig{h, h.log.(*memLog)}
	s := r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(0), WantLive: true})
	expect(t, s, "live@0")
	r.announce(progress(1, "alice"))
	expect(t, s, "1")
}

func TestSubscribeRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	wake := func() {}
	for name, c := range map[string]struct {
		opts SubscribeOptions
		want taskfeed.Code
	}{
		"a filter without user": {SubscribeOptions{Wake: wake}, taskfeed.CodeInternal},
		"no Wake":               {SubscribeOptions{Filter: of("alice")}, taskfeed.CodeInternal},
		"a negative cursor":     {SubscribeOptions{Filter: of("alice"), After: from(-1), Wake: wake}, taskfeed.CodeBadCursor},
	} {
		_, err := r.Subscribe(c.opts)
		if err == nil {
			t.Errorf("%s: no error, want one", name)
		}
		expectCode(t, err, c.want)
	}
	audit(t, r.Hub)
}

func TestConfigRefusesNegatives(t *testing.T) {
	t.Parallel()
	for _, cfg := range []Config{{FeedBytes: -1}, {RecentBytes: -1}, {ReplayPage: -1}, {MaxReplays: -1}} {
		if _, err := New(&memLog{}, cfg); err == nil {
			t.Errorf("New(%+v): no error, want one", cfg)
		}
	}
}

func TestUsersAndCounts(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	check := func(users ...UserCount) {
		t.Helper()
		if got := r.Users(); !slices.Equal(got, users) {
			t.Errorf("users %v, want %v", got, users)
		}
		want := 0
		for _, u := range users {
			want += u.Subscribers
		}
		if got := r.Stats(); got.Users != len(users) || got.Subscribers != want {
			t.Errorf("%d users and %d subscribers, want %d and %d", got.Users, got.Subscribers, len(users), want)
		}
		audit(t, r.Hub)
	}
	check()
	b1, a1, a2 := r.live(t, "bob"), r.live(t, "alice"), r.live(t, "alice")
	admin := r.tap(t, SubscribeOptions{Filter: taskfeed.Filter{All: true, UserID: "alice"}})
	check(UserCount{"alice", 3}, UserCount{"bob", 1})
	a1.Close()
	b1.Close()
	check(UserCount{"alice", 2})
	a2.Close()
	admin.Close()
	check()
	if got := len(r.users); got != 0 {
		t.Errorf("%d users are remembered, want 0", got)
	}
}

// Once, an admin who watched alice counted as alice: health checks and metrics
// showed her as connected although she was not.
func TestWatchersCountAsThemselves(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	wants := func(users ...UserCount) {
		t.Helper()
		if got := r.Users(); !slices.Equal(got, users) {
			t.Errorf("users %v, want %v", got, users)
		}
		if got := r.Stats().Users; got != len(users) {
			t.Errorf("%d users, want %d", got, len(users))
		}
		audit(t, r.Hub)
	}
	watch := SubscribeOptions{Filter: of("alice"), Owner: "root"}
	first, second := r.tap(t, watch), r.tap(t, watch)
	wants(UserCount{"root", 2})
	r.announce(progress(11, "alice"))
	expect(t, first, "11")
	expect(t, second, "11")

	alice := r.tap(t, SubscribeOptions{Filter: of("alice"), Owner: "alice"})
	everybody := r.tap(t, SubscribeOptions{Filter: taskfeed.Filter{UserID: "root", All: true}, Owner: "root"})
	nobody := r.tap(t, SubscribeOptions{Filter: taskfeed.Filter{All: true}, Owner: "ops"})
	wants(UserCount{"alice", 1}, UserCount{"ops", 1}, UserCount{"root", 3})

	alice.Close()
	wants(UserCount{"ops", 1}, UserCount{"root", 3})
	r.announce(progress(12, "alice"))
	expect(t, first, "12")
	for _, s := range []interface{ Close() }{first, everybody, nobody} {
		s.Close()
	}
	wants(UserCount{"root", 1})
	r.announce(progress(13, "alice"))
	expect(t, second, "12", "13")
	second.Close()
	wants()
}
