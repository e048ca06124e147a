package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/client"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// watcher reads one user's feed from one server and keeps every event.
type watcher struct {
	mu     sync.Mutex
	events []taskfeed.Event
	state  client.State
}

// watch follows a user's feed from the beginning until the test ends.
func watch(t *testing.T, base, user string) *watcher {
	t.Helper()
	return watchToken(t, base, user, testToken(t, user))
}

func watchToken(t *testing.T, base, user, token string) *watcher {
	t.Helper()
	w := &watcher{}
	begin := taskfeed.Cursor(0)
	feed, err := client.New(client.Config{
		URL: base, UserID: user, Token: client.StaticToken(token), After: &begin,
		Backoff: client.Backoff{Min: 20 * time.Millisecond, Max: 200 * time.Millisecond},
		OnState: func(s client.StateChange) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.state = s.State
		},
	})
	if err != nil {
		t.Fatalf("make a client: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := feed.Run(ctx, w.handle); err != nil && ctx.Err() == nil {
			t.Errorf("the client gave up: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

func (w *watcher) handle(_ context.Context, e taskfeed.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
	return nil
}

func (w *watcher) snapshot() []taskfeed.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

func (w *watcher) live() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state == client.StateLive
}

// checkWhole fails unless the events are all those of one task from its creation to the
// version last, each once and in order.
func checkWhole(t *testing.T, name string, events []taskfeed.Event, last int64) {
	t.Helper()
	for i, e := range events {
		if want := int64(i + 1); e.Version != want {
			t.Fatalf("%s: event %d of %d has version %d, want %d", name, i, len(events), e.Version, want)
		}
		if i > 0 && e.ID <= events[i-1].ID {
			t.Fatalf("%s: id %d comes after %d", name, e.ID, events[i-1].ID)
		}
	}
	if got := int64(len(events)); got != last {
		t.Fatalf("%s: got %d events, want %d", name, got, last)
	}
}

// TestFailover proves that two servers on one database deliver every event once and in
// order while the leader is killed, stopped or cut off.
func TestFailover(t *testing.T) {
	cases := []struct {
		name  string
		fault func(leader *serving)
	}{
		{"kill -9 of the leader", func(leader *serving) { leader.Signal(syscall.SIGKILL) }},
		{"SIGTERM of the leader", func(leader *serving) { leader.Signal(syscall.SIGTERM) }},
		{"SIGSTOP of the leader", func(leader *serving) { leader.Signal(syscall.SIGSTOP) }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.New(t)
			first := startServing(t, url, "TASKFEED_STALL_TIMEOUT=3s")
			eventually(t, "the first server leads", 10*time.Second, func() bool { return first.leads(t) })
			second := startServing(t, url, "TASKFEED_STALL_TIMEOUT=3s")
			onFirst, onSecond := watch(t, first.base, "alice"), watch(t, second.base, "alice")
			eventually(t, "both clients are live", 10*time.Second, func() bool { return onFirst.live() && onSecond.live() })

			w := startWriter(t, url)
			eventually(t, "both servers deliver", 20*time.Second, func() bool {
				return len(onFirst.snapshot()) > 50 && len(onSecond.snapshot()) > 50
			})
			if second.leads(t) {
				t.Fatal("both servers lead")
			}
			c.fault(first)
			began := time.Now()
			eventually(t, "the second server leads", 15*time.Second, func() bool { return second.leads(t) })
			t.Logf("the second server led after %v", time.Since(began).Round(time.Millisecond))
			n := len(onSecond.snapshot())
			eventually(t, "events go on", 10*time.Second, func() bool { return len(onSecond.snapshot()) > n+50 })

			last := w.stop(t)
			eventually(t, "the last event has come", 15*time.Second, func() bool {
				return int64(len(onSecond.snapshot())) >= last
			})
			checkWhole(t, "client of the second server", onSecond.snapshot(), last)
			seen := onFirst.snapshot()
			checkWhole(t, "client of the first server, as far as it came", seen, int64(len(seen)))
		})
	}
}

// writer updates one task of alice as fast as it can.
type writer struct {
	cancel context.CancelFunc
	done   chan struct{}
	last   int64 // version of the task after the last update
	err    error
}

func startWriter(t *testing.T, url string) *writer {
	t.Helper()
	return startPacedWriter(t, url, time.Nanosecond)
}

// startPacedWriter waits for at least pace between two updates.
func startPacedWriter(t *testing.T, url string, pace time.Duration) *writer {
	t.Helper()
	conn := pgtest.Connect(t, url)
	if _, err := conn.Exec(t.Context(), "INSERT INTO taskfeed.tasks (id, user_id, status) VALUES ('one', 'alice', 'running')"); err != nil {
		t.Fatalf("create a task: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &writer{cancel: cancel, done: make(chan struct{}), last: 1}
	go func() {
		defer close(w.done)
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for i := 1; ctx.Err() == nil && w.err == nil; i++ {
			<-tick.C
			_, w.err = conn.Exec(context.Background(), "UPDATE taskfeed.tasks SET progress = $1, message = $2 WHERE id = 'one'", i%101, fmt.Sprint("step ", i))
			w.last++
		}
	}()
	t.Cleanup(func() { cancel(); <-w.done })
	return w
}

// stop ends the writer and returns the last version of the task.
func (w *writer) stop(t *testing.T) int64 {
	t.Helper()
	w.cancel()
	<-w.done
	if w.err != nil {
		t.Fatalf("the app's write failed: %v", w.err)
	}
	return w.last
}
