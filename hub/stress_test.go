package hub

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed"
)

// TestStress lets many connections come, fall behind, leave and resume while
// events are published, the log answers late and the head jumps. Every user's
// connections must see all of the user's events in order, each once.
func TestStress(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"roomy": {},
		"tight": {FeedBytes: 1500, RecentBytes: 6000, ReplayPage: 7, MaxReplays: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { stress(t, newRig(t, cfg)) })
		})
	}
}

const (
	stressUsers   = 8
	stressClients = 40
	stressEvents  = 1500
)

func stress(t *testing.T, r *rig) {
	r.log.asked = wobble(2 * time.Millisecond)
	r.log.answered = wobble(2 * time.Millisecond)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	var clients, watcher sync.WaitGroup
	for i := range stressClients {
		clients.Go(func() { (&stressClient{rig: r, filter: stressFilter(i), done: done}).run(ctx, t) })
	}
	watcher.Go(func() { watch(ctx, r) })
	publishAll(t, r)
	close(done)
	clients.Wait()
	cancel()
	watcher.Wait()
	audit(t, r.Hub)
	if got := r.Stats(); got.Users+got.Subscribers+got.Reserved+got.RecentBytes != 0 {
		t.Errorf("at the end %+v, want nobody and nothing", got)
	}
}

func stressFilter(i int) taskfeed.Filter {
	return taskfeed.Filter{UserID: fmt.Sprint("user-", i%stressUsers), All: i%10 == 0}
}

// wobble waits for a random time up to most.
func wobble(most time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-time.After(rand.N(most)):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// publishAll writes the log and tells the hub, often late and in one batch.
// Sometimes ids jump, as with a new sequencer.
func publishAll(t *testing.T, r *rig) {
	pause := wobble(3 * time.Millisecond)
	id := taskfeed.Cursor(10)
	told := 0
	for n := 0; n < stressEvents; {
		for range 1 + rand.N(8) {
			id++
			n++
			e := progress(id, fmt.Sprint("user-", rand.N(stressUsers)))
			if rand.N(10) == 0 {
				e = broadcast(id)
			}
			r.log.commit(e)
		}
		switch rand.N(40) {
		case 0:
			id += 1000
			r.SetHead(id)
			told = n
		case 1, 2, 3, 4, 5:
		default:
			r.Publish(r.log.events[told:n]) // nobody else commits
			told = n
		}
		if err := pause(t.Context()); err != nil {
			t.Errorf("pause: %v", err)
		}
	}
	r.Publish(r.log.events[told:])
}

// watch calls what operators' requests call.
func watch(ctx context.Context, r *rig) {
	pause := wobble(5 * time.Millisecond)
	for pause(ctx) == nil {
		r.Stats()
		r.Users()
	}
}

// stressClient connects again and again until it has seen the last event.
type stressClient struct {
	*rig
	filter taskfeed.Filter
	done   <-chan struct{} // closed when everything is published
	seen   []taskfeed.Cursor
}

func (c *stressClient) run(ctx context.Context, t *testing.T) {
	after := taskfeed.Cursor(10)
	for session := 0; ; session++ {
		release, err := c.Reserve(c.filter.UserID)
		if err != nil {
			t.Errorf("Reserve: %v", err)
			return
		}
		last := c.session(ctx, t, &after)
		release()
		if last {
			break
		}
	}
	var want []taskfeed.Cursor
	for _, e := range c.log.events {
		if c.filter.Match(&e) {
			want = append(want, e.ID)
		}
	}
	if got := c.seen; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v has seen %d events, want %d:\n%v\n%v", c.filter, len(got), len(want), got, want)
	}
}

// session reads for a while and reports whether it came to the end.
func (c *stressClient) session(ctx context.Context, t *testing.T, after *taskfeed.Cursor) bool {
	wake := make(chan struct{}, 1)
	s, err := c.Subscribe(SubscribeOptions{Filter: c.filter, After: from(*after), WantLive: true, Wake: func() {
		select {
		case wake <- struct{}{}:
		default:
			t.Error("woken twice without a read between")
		}
	}})
	if err != nil {
		t.Errorf("Subscribe: %v", err)
		return true
	}
	defer s.Close()
	write := wobble(4 * time.Millisecond)
	for budget := 1 + rand.N(60); ; {
		frames, err := s.Next(ctx)
		if err != nil {
			t.Errorf("Next: %v", err)
			return true
		}
		for _, f := range frames {
			if f.Type == taskfeed.TypeFeedReset || f.ID < *after || f.Type != taskfeed.TypeFeedLive && f.ID == *after {
				t.Errorf("after %d came %s", *after, f.Bytes)
			}
			if *after = f.ID; f.Type != taskfeed.TypeFeedLive {
				c.seen = append(c.seen, f.ID)
				budget--
			}
		}
		switch {
		case len(frames) > 0 && budget <= 0:
			return false
		case len(frames) > 0:
			if err := write(ctx); err != nil {
				t.Errorf("write: %v", err)
			}
		case !c.wait(wake):
			return true
		}
	}
}

// wait returns once there is more, or false once all is published and read.
func (c *stressClient) wait(wake <-chan struct{}) bool {
	select {
	case <-wake:
		return true
	case <-c.done:
	}
	select {
	case <-wake: // before the end
		return true
	default:
		return false
	}
}
