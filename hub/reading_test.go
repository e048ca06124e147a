package hub

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/taskfeed/taskfeed"
)

// TestTheSameReplayIsReadOnce: many connections of one user that come back with the same
// cursor cost one read, also when the first of them gives up meanwhile.
func TestTheSameReplayIsReadOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		fate  func(first *tap, stop func()) // of the connection that reads
		fails error                         // of the first read
		reads int
		ended int // connections that get nothing
	}{
		{"", func(*tap, func()) {}, nil, 1, 0},
		{"the first hangs up", func(first *tap, stop func()) { first.Close(); stop() }, nil, 2, 1},
		{"the log fails", func(*tap, func()) {}, errors.New("the log is away"), 1, 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				r.announce(progress(11, "alice"), broadcast(12))
				read, again := make(chan struct{}), make(chan struct{})
				reads := 0
				r.log.asked = func(ctx context.Context) error {
					if reads++; reads > 1 {
						<-again
						return nil
					}
					select {
					case <-read:
						return tt.fails
					case <-ctx.Done():
						return ctx.Err()
					}
				}
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				results := make(chan string, 30)
				start := func(ctx context.Context, f taskfeed.Filter) *tap {
					s := r.tap(t, SubscribeOptions{Filter: f, After: from(10)})
					go func() {
						frames, err := s.Next(ctx)
						results <- fmt.Sprint(show(t, frames), err != nil)
					}()
					synctest.Wait()
					return s
				}
				first := start(ctx, of("alice"))
				for range 19 {
					start(t.Context(), of("alice"))
				}
				r.announce(progress(13, "alice")) // after the read has begun
				tt.fate(first, stop)
				synctest.Wait()
				close(read)
				synctest.Wait()
				close(again)
				synctest.Wait()
				got := map[string]int{}
				for len(results) > 0 {
					got[<-results]++
				}
				const all = "[11 12 13] false"
				if got[all] != 20-tt.ended || got["[] true"] != tt.ended || reads != tt.reads {
					t.Errorf("%d reads, results %v; want %d, and %d times %s", reads, got, tt.reads, 20-tt.ended, all)
				}
				if joined := r.Stats().Joined; joined < 19 || len(r.readings) > 0 {
					t.Errorf("%d have joined, %d readings are left; want 19 and none", joined, len(r.readings))
				}
			})
		})
	}
}

// TestOtherReplaysAreReadApart: what differs in the user, the filter or the cursor is
// not the same.
func TestOtherReplaysAreReadApart(t *testing.T) {
	t.Parallel()
	keys := map[readingKey]bool{}
	for _, f := range []taskfeed.Filter{{UserID: "a"}, {UserID: "b"}, {All: true}, {UserID: "a", All: true}, {UserID: "a", TaskID: "t"},
		{UserID: "a", Types: []taskfeed.Type{"x"}}, {UserID: "a", Types: []taskfeed.Type{"x", "y"}}} {
		keys[keyOf(&f, 1)], keys[keyOf(&f, 2)] = true, true
	}
	if len(keys) != 14 {
		t.Errorf("%d different reads, want 14", len(keys))
	}
	one, other := taskfeed.Filter{UserID: "a", Types: []taskfeed.Type{"x", "y"}}, taskfeed.Filter{UserID: "a", Types: []taskfeed.Type{"y", "x"}}
	if keyOf(&one, 1) != keyOf(&other, 1) {
		t.Error("the order of types makes a difference, want none")
	}
}
