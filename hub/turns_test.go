package hub

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/taskfeed/taskfeed"
)

// Once, a user who replayed a long log over twenty connections had twenty turns for
// each turn of another user.
func TestTurnsAtTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{MaxReplays: 4})
		r.log.scan = 1
		for id := taskfeed.Cursor(11); id < 200; id++ {
			r.announce(broadcast(id))
		}
		turn := make(chan struct{})
		asking := make(map[string]int) // reads under way
		var mu sync.Mutex
		count := func(user string, by int) int {
			mu.Lock()
			defer mu.Unlock()
			asking[user] += by
			return asking[user]
		}
		r.log.asked = func(ctx context.Context) error {
			user := ctx.Value(turnKey{}).(string)
			count(user, 1)
			<-turn
			count(user, -1)
			return nil
		}
		ended := make(chan string, 100)
		replay := func(user string, types ...taskfeed.Type) {
			s := r.tap(t, SubscribeOptions{Filter: taskfeed.Filter{UserID: user, Types: types}, After: from(10)})
			go func() {
				_, err := s.Next(context.WithValue(t.Context(), turnKey{}, user))
				if err != nil {
					t.Errorf("%s: %v", user, err)
				}
				ended <- user
			}()
			synctest.Wait()
		}
		for i := range 20 {
			replay("greedy", taskfeed.Type(fmt.Sprint("nothing-", i))) // each a read of its own
		}
		if got := count("greedy", 0); got != 2 {
			t.Errorf("%d reads of one user at a time, want 2 of 4", got)
		}
		replay("alice")
		if got := count("alice", 0); got != 1 {
			t.Errorf("%d reads of somebody else, want 1 at once", got)
		}
		replay("bob", "nothing")
		for range 3 * 190 { // bob takes every second or third turn, though greedy waits in twenty places
			turn <- struct{}{}
			synctest.Wait()
		}
		if got := count("bob", 0); got != 0 || len(ended) < 2 || len(ended) > 10 {
			t.Errorf("%d have ended and bob reads %d times, want bob among the first", len(ended), got)
		}
		close(turn)
		synctest.Wait()
		if got := len(ended); got != 22 {
			t.Errorf("%d have ended, want all 22", got)
		}
	})
}

type turnKey struct{}

// Once, nothing bounded the memory of the pages that slow connections were writing.
func TestPagesOfTheLogAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{ReplayBytes: 2 * replayBytes})
		r.log.page = 1
		for id := taskfeed.Cursor(11); id < 14; id++ {
			e := progress(id, "alice")
			e.Data = []byte(`{"message":"` + strings.Repeat("x", replayBytes) + `"}`)
			r.log.commit(e)
			r.log.commit(progress(id+100, "bob"))
		}
		r.SetHead(200)
		first, second := r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(0)}), r.tap(t, SubscribeOptions{Filter: of("alice"), After: from(0)})
		if got := len(next(t, first)); got != 1 {
			t.Fatalf("%d frames, want 1", got)
		}
		done := make(chan int)
		go func() { done <- len(next(t, second)) }()
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("a second page of alice's is read while the first is written, want it to wait")
		default:
		}
		bob := r.tap(t, SubscribeOptions{Filter: of("bob"), After: from(0)})
		if got := len(next(t, bob)); got != 1 {
			t.Errorf("%d frames for bob, want 1 at once", got)
		}
		first.Close()
		if got := <-done; got != 1 {
			t.Errorf("%d frames, want 1", got)
		}
		second.Close()
		bob.Close()
		if got := r.pages.Used(); got != 0 {
			t.Errorf("%d bytes are held, want none", got)
		}
	})
}
