package hub

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/taskfeed/taskfeed"
)

func TestReplayThenLive(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{ReplayPage: 2})
	r.announce(progress(11, "alice"), progress(12, "bob"), progress(13, "alice"), broadcast(14), progress(15, "bob"))
	for after, want := range map[taskfeed.Cursor][]string{
		0:  {"11", "13", "14", "live@15"},
		11: {"13", "14", "live@15"},
		12: {"13", "14", "live@15"},
		14: {"live@15"},
		15: {"live@15"},
	} {
		t.Run(fmt.Sprint("after ", after), func(t *testing.T) {
			s := r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(after), WantLive: true})
			expect(t, s, want...)
		})
	}
	s := r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(13), WantLive: true})
	expect(t, s, "14", "live@15")
	r.announce(progress(16, "alice"))
	expect(t, s, "16") // and no second feed_live
	if got := r.Stats(); got.Delivered != got.Replayed+1 || got.Resets != 0 {
		t.Errorf("stats %+v, want one event delivered live and no reset", got)
	}
}

func TestNoFeedLiveUnlessAsked(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	r.announce(progress(11, "alice"))
	expect(t, r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(0)}), "11")
	expect(t, r.tap(t, SubscribeOptions{Filter: of("alice"), WantLive: true}), "live@11")
	expect(t, r.tap(t, SubscribeOptions{Filter: of("alice")}))
}

func TestAtTheHeadTheLogIsNotAsked(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	r.announce(progress(11, "alice"))
	expect(t, r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(11), WantLive: true}), "live@11")
	if got := r.log.readCount(); got != 0 {
		t.Errorf("the log was read %d times, want 0", got)
	}
}

// A page that is not full ends the log: no second read is needed.
func TestAReplayOfOnePageReadsTheLogOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	r.announce(progress(11, "alice"), progress(12, "alice"), progress(13, "bob"))
	s := r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(10), WantLive: true})
	expect(t, s, "11", "12", "live@13")
	if got := r.log.readCount(); got != 1 {
		t.Errorf("the log was read %d times, want once", got)
	}
	r.announce(progress(14, "alice"))
	expect(t, s, "14")
}

// Otherwise a user with a steady flow of events would never get feed_live.
func TestFeedLiveComesWithThePageThatReachesTheHead(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	s := r.tap(t, SubscribeOptions{Filter: of("alice"), WantLive: true})
	r.announce(progress(11, "alice"), progress(12, "bob"))
	if got, want := fmt.Sprint(show(t, next(t, s))), "[11 live@12]"; got != want {
		t.Errorf("first page %s, want %s", got, want)
	}
}

func TestFeedLiveDoesNotComeWithAFullPage(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	s := r.tap(t, SubscribeOptions{Filter: of("alice"), WantLive: true})
	last := taskfeed.Cursor(10 + pageFrames + 1)
	for id := taskfeed.Cursor(11); id <= last; id++ {
		r.announce(progress(id, "alice"))
	}
	if got, want := len(next(t, s)), pageFrames; got != want {
		t.Errorf("first page has %d frames, want %d", got, want)
	}
	expect(t, s, last.String(), "live@"+last.String())
}

// A page of the log is complete up to the head before the read, not after it.
func TestEventPublishedWhileTheLogIsRead(t *testing.T) {
	t.Parallel()
	for _, feedBytes := range []int{0, 1} {
		r := newRig(t, Config{FeedBytes: feedBytes})
		r.announce(progress(11, "bob"))
		s := r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(5), WantLive: true})
		r.log.answered = func(context.Context) error {
			r.log.answered = nil
			r.announce(progress(12, "alice"), progress(13, "bob"))
			return nil
		}
		expect(t, s, "12", "live@13")
	}
}

func TestReplayedFramesSaySo(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	r.announce(progress(11, "alice"))
	s := r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(0)})
	replayed := next(t, s)[0]
	r.announce(progress(12, "alice"))
	live := next(t, s)[0]
	if !replayed.Replayed || live.Replayed {
		t.Errorf("replayed %t and live %t, want true and false", replayed.Replayed, live.Replayed)
	}
	if want := progress(0, "").Timestamp; !replayed.Timestamp.Equal(want) || !live.Timestamp.Equal(want) {
		t.Errorf("timestamps %v and %v, want %v", replayed.Timestamp, live.Timestamp, want)
	}
}

// Events can be in the log before this server is told of them.
func TestLogAheadOfTheHubDoublesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	r.announce(progress(11, "alice"))
	late := []taskfeed.Event{progress(12, "alice"), progress(13, "alice")}
	r.log.commit(late...)
	s := r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(5), WantLive: true})
	expect(t, s, "11", "12", "13", "live@13")
	r.Publish(late)
	expectWakes(t, s, 0)
	r.announce(progress(14, "alice"))
	expect(t, s, "14")
	expectWakes(t, s, 1)
}

func TestCursorAheadOfTheHubIsCheckedWithTheLog(t *testing.T) {
	t.Parallel()
	t.Run("in the log", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, Config{})
		late := []taskfeed.Event{progress(11, "alice"), progress(12, "alice")}
		r.log.commit(late...)
		s := r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(12), WantLive: true})
		expect(t, s, "live@12")
		r.Publish(late)
		r.announce(progress(13, "alice"))
		expect(t, s, "13")
	})
	t.Run("ahead of the log", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, Config{})
		s := r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(99), WantLive: true})
		expect(t, s, "ahead@10", "live@10")
		r.announce(progress(11, "alice"))
		expect(t, s, "11")
		if got, want := r.Stats().Resets, uint64(1); got != want {
			t.Errorf("%d resets, want %d", got, want)
		}
	})
	t.Run("reached by the hub before it is checked", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, Config{})
		s := r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(12), WantLive: true})
		r.announce(progress(11, "alice"), progress(12, "alice"), progress(13, "alice"))
		expect(t, s, "13", "live@13")
	})
	t.Run("reached by the hub while it is checked", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, Config{})
		r.log.answered = func(context.Context) error {
			r.announce(progress(11, "alice"), progress(12, "alice"), progress(13, "alice"))
			return nil
		}
		s := r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(12), WantLive: true})
		expect(t, s, "13", "live@13")
	})
	t.Run("the log cannot say", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, Config{})
		down := errors.New("down")
		r.log.asked = func(context.Context) error { return down }
		s := r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(99)})
		if _, err := s.Next(t.Context()); !errors.Is(err, down) {
			t.Errorf("Next: %v, want %v", err, down)
		}
		r.log.asked = nil
		expect(t, s, "ahead@10")
	})
}

func TestCursorOlderThanTheLogIsReset(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	r.announce(progress(11, "alice"), progress(12, "alice"), progress(13, "alice"), progress(14, "alice"))
	r.log.lose(12)
	s := r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(11), WantLive: true})
	expect(t, s, "expired@14", "live@14")
	r.announce(progress(15, "alice"))
	expect(t, s, "15")
	expect(t, r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(12)}), "13", "14", "15")
	expect(t, r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(0)}), "13", "14", "15")
}

func TestRetentionOvertakesAReplay(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{ReplayPage: 1})
	r.announce(progress(11, "alice"), progress(12, "alice"), progress(13, "alice"))
	s := r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(5), WantLive: true})
	if got, want := fmt.Sprint(show(t, next(t, s))), "[11]"; got != want {
		t.Fatalf("first page %s, want %s", got, want)
	}
	r.log.lose(12)
	r.log.answered = func(context.Context) error { return errors.New("the log was asked again") }
	expect(t, s, "expired@13", "live@13")
}

// A replay may read beyond the events that the hub has been told of.
func TestReadingAboveTheHeadDoesNotGoBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{ReplayPage: 1})
	r.announce(progress(11, "alice"))
	late := []taskfeed.Event{progress(12, "alice"), progress(13, "alice"), progress(14, "alice")}
	r.log.commit(late...)
	s := r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(11)})
	s.mustRead(t, "[12]")
	r.log.lose(13)
	s.mustRead(t, "[expired@12]")
	r.log.lost = 0
	s.mustRead(t, "[13]")
	s.mustRead(t, "[14]")
	s.mustRead(t, "[]")
	r.Publish(late)
	r.announce(progress(15, "alice"))
	expect(t, s, "15")
}

// mustRead makes s read the log although it is at the head, as happens when two
// calls of Next overlap.
func (s *Subscriber) mustRead(t *testing.T, want string) {
	t.Helper()
	frames, err := s.read(t.Context())
	if got := fmt.Sprint(show(t, frames)); err != nil || got != want {
		t.Fatalf("read: %s, %v, want %s", got, err, want)
	}
}

func TestHeadJumps(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	parked, behind := r.live(t, "alice"), r.live(t, "alice")
	admin := r.tap(t, SubscribeOptions{Filter: taskfeed.Filter{All: true}})
	expect(t, admin)
	r.announce(progress(11, "alice"))
	expect(t, parked, "11")
	r.log.commit(progress(12, "alice"), progress(13, "bob"))
	r.SetHead(1_000_000)
	expectWakes(t, parked, 2)
	expectWakes(t, admin, 1)
	fresh := r.live(t, "alice")
	r.announce(progress(1_000_001, "alice"))
	expect(t, parked, "12", "1000001")
	expect(t, behind, "11", "12", "1000001")
	expect(t, admin, "11", "12", "13", "1000001")
	expect(t, fresh, "1000001")

	r.SetHead(12) // it only raises the head
	if got, want := r.Stats().Head, taskfeed.Cursor(1_000_001); got != want {
		t.Errorf("head %d, want %d", got, want)
	}
	expectWakes(t, parked, 2)
}

// A subscriber that was idle for longer than the log keeps has missed nothing.
func TestHeadJumpAfterRetentionIsNoReset(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	s := r.live(t, "alice")
	for id := taskfeed.Cursor(11); id < 50; id++ {
		r.announce(progress(id, "bob"))
	}
	r.log.lose(45)
	r.log.commit(progress(50, "alice"))
	r.SetHead(60)
	expect(t, s, "50")
}

func TestSlowSubscriberFallsBackToTheLog(t *testing.T) {
	t.Parallel()
	cost := newFrame(ptr(progress(11, "alice"))).cost()
	for name, cfg := range map[string]Config{
		"nothing fits":        {FeedBytes: 1, ReplayPage: 2},
		"two fit":             {FeedBytes: 2 * cost, ReplayPage: 2},
		"nothing fits at all": {RecentBytes: 1, ReplayPage: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, cfg)
			s := r.live(t, "alice")
			for id := taskfeed.Cursor(11); id <= 15; id++ {
				r.announce(progress(id, "alice"))
				audit(t, r.Hub)
			}
			expectWakes(t, s, 1)
			expect(t, s, "11", "12", "13", "14", "15")
			if got := r.Stats(); got.Shed < 3 || got.Replayed < 3 || got.LogReads == 0 {
				t.Errorf("stats %+v, want at least 3 frames shed and replayed", got)
			}
		})
	}
}

func TestTheSlowestFeedGivesWay(t *testing.T) {
	t.Parallel()
	cost := newFrame(ptr(progress(11, "slow"))).cost()
	r := newRig(t, Config{RecentBytes: 4 * cost})
	slow, first, second := r.live(t, "slow"), r.live(t, "busy"), r.live(t, "busy")
	r.announce(progress(11, "busy"), progress(12, "busy"), progress(13, "slow"))
	expect(t, first, "11", "12")
	r.announce(progress(14, "busy"))
	expect(t, second, "11", "12", "14") // progress, though first has yet to take 14
	r.announce(progress(15, "slow"), progress(16, "busy"), progress(17, "busy"))
	expect(t, first, "14", "16", "17")
	expect(t, second, "16", "17")
	if got := r.log.readCount(); got != 0 {
		t.Errorf("the busy feed read the log %d times, want 0", got)
	}
	expect(t, slow, "13", "15")
	if got := r.log.readCount(); got == 0 {
		t.Error("the slow feed did not read the log, want that it gave way")
	}
}

func TestFailedReadLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{})
	r.announce(progress(11, "alice"))
	down := errors.New("down")
	r.log.answered = func(context.Context) error { return down }
	s := r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(10 - 1)})
	for range 2 {
		if _, err := s.Next(t.Context()); !errors.Is(err, down) {
			t.Errorf("Next: %v, want %v", err, down)
		}
	}
	r.log.answered = nil
	expect(t, s, "11")
}

func TestCloseEndsARead(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]taskfeed.Cursor{"replay": 5, "expired": 1, "ahead": 99} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, Config{})
			r.announce(progress(11, "alice"))
			r.log.lose(3)
			s := r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(after)})
			r.log.asked = func(context.Context) error { s.Close(); return nil }
			if frames, err := s.Next(t.Context()); err != ErrClosed || len(frames) > 0 {
				t.Errorf("Next: %v, %v, want %v", frames, err, ErrClosed)
			}
			audit(t, r.Hub)
		})
	}
}

// Two calls of Next may overlap; each frame goes to one of them.
func TestOverlappingReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.announce(progress(11, "alice"), progress(12, "alice"))
		s := r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(5)})
		open := make(chan struct{})
		r.log.answered = func(context.Context) error { <-open; return nil }
		got := make(chan string, 2)
		for range 2 {
			go func() { got <- fmt.Sprint(show(t, next(t, s))) }()
			synctest.Wait()
		}
		close(open)
		if one, other := <-got, <-got; one+other != "[11 12][]" && one+other != "[][11 12]" {
			t.Errorf("the calls got %s and %s, want each frame once", one, other)
		}
	})
}

func TestReadsOfTheLogAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{MaxReplays: 3})
		r.announce(progress(11, "alice"))
		open := make(chan struct{})
		r.log.asked = func(context.Context) error { <-open; return nil }
		done := make(chan error)
		var taps []*tap
		for range 10 {
			s := r.tap(t, SubscribeOptions{Filter: of(fmt.Sprint("user ", len(taps))), After: from(5)})
			taps = append(taps, s)
			go func() {
				_, err := s.Next(t.Context())
				done <- err
			}()
		}
		synctest.Wait()
		if got, want := r.Stats().Replaying, 3; got != want {
			t.Errorf("%d reads run, want %d", got, want)
		}

		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("the connection ended")
		waits := r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(5)})
		go func() {
			_, err := waits.Next(ctx)
			done <- err
		}()
		synctest.Wait()
		cancel(why)
		if err := <-done; !errors.Is(err, why) {
			t.Errorf("Next that waited its turn: %v, want %v", err, why)
		}

		taps[9].Close() // while it waits
		close(open)
		ended := 0
		for range taps {
			if err := <-done; err == ErrClosed {
				ended++
			} else if err != nil {
				t.Errorf("Next: %v", err)
			}
		}
		if ended != 1 {
			t.Errorf("%d ended with %v, want 1", ended, ErrClosed)
		}
		expect(t, waits, "11")
	})
}

func ptr[T any](v T) *T { return &v }
