package feeds

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/hub"
)

// noEvents is a log without events.
type noEvents struct{}

func (noEvents) After(context.Context, taskfeed.Filter, taskfeed.Cursor, int) ([]taskfeed.Event, taskfeed.Cursor, bool, error) {
	return nil, 0, false, nil
}

func (noEvents) Head(context.Context) (taskfeed.Cursor, error) { return 0, nil }

// Progress that comes a hundred times a second is handed out at most once an interval,
// the last of it at the latest an interval after it came, and an event of another type
// at once.
func TestThinnedProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const interval = 500 * time.Millisecond
		h, err := hub.New(noEvents{}, hub.Config{})
		if err != nil {
			t.Fatal(err)
		}
		h.SetHead(0)
		f := &Feeds{deps: Deps{Hub: h}, began: time.Now()}
		var sub *hub.Subscriber
		var came []time.Duration
		ended, lastID := time.Duration(0), taskfeed.Cursor(0)
		var reading sync.Mutex // Wake runs on the publisher's goroutine and on that of the timer
		read := func() {
			reading.Lock()
			defer reading.Unlock()
			for {
				frames, err := sub.Next(t.Context())
				if err != nil {
					t.Fatalf("Next: %v", err)
				}
				if len(frames) == 0 {
					return
				}
				for _, frame := range frames {
					if lastID = frame.ID; frame.Type == taskfeed.TypeTaskProgress {
						came = append(came, f.now())
					} else {
						ended = f.now()
					}
				}
			}
		}
		if sub, err = f.subscribe(hub.SubscribeOptions{Filter: taskfeed.Filter{UserID: "alice"}, Wake: func() { read() }}, interval); err != nil {
			t.Fatal(err)
		}
		defer sub.Close()
		read()
		var end time.Duration
		for i := range taskfeed.Cursor(210) {
			e := taskfeed.Event{ID: i + 1, UserID: "alice", TaskID: "t", Type: taskfeed.TypeTaskProgress, Data: []byte("{}")}
			if i == 170 {
				e.Type, end = taskfeed.TypeTaskCompleted, f.now()
			}
			h.Publish([]taskfeed.Event{e})
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(interval)
		reading.Lock()
		defer reading.Unlock()
		if ended != end {
			t.Errorf("the end of the task came at %v, want it at once, at %v", ended, end)
		}
		if len(came) < 5 || len(came) > 7 || lastID != 210 {
			t.Errorf("progress came at %v, the last event is %d; want about one each %v and the last, 210", came, lastID, interval)
		}
	})
}
