package feeds

import (
	"sync"
	"time"

	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/hub"
)

// Bounds of the parameter progress_interval.
const (
	leastThinning = 50 * time.Millisecond
	mostThinning  = time.Minute
)

// thinning wakes a connection for progress of tasks at most once in an interval, and for
// all else at once. Of the progress that has come meanwhile the hub then hands out the
// last of each task.
type thinning struct {
	interval time.Duration
	now      func() time.Duration
	wake     func()
	sub      *hub.Subscriber

	mu    sync.Mutex
	woken time.Duration // when wake was last called
	timer *time.Timer
}

// progressInterval reads the parameter; 0 when the client wants all progress.
func progressInterval(p *request.Params) time.Duration {
	return p.DurationWithin("progress_interval", 0, leastThinning, mostThinning)
}

// subscribe subscribes with the options, and wakes at most so often for progress if an
// interval is given.
func (f *Feeds) subscribe(opts hub.SubscribeOptions, interval time.Duration) (sub *hub.Subscriber, err error) {
	if interval == 0 {
		return f.deps.Hub.Subscribe(opts)
	}
	t := &thinning{interval: interval, now: f.now, wake: opts.Wake, woken: f.now() - interval}
	opts.Wake, opts.Doze = t.wakeNow, t.doze
	t.sub, err = f.deps.Hub.Subscribe(opts)
	return t.sub, err
}

// wakeNow is the subscriber's Wake.
func (t *thinning) wakeNow() {
	t.mu.Lock()
	t.woken = t.now()
	t.mu.Unlock()
	t.wake()
}

// doze is the subscriber's Doze.
func (t *thinning) doze() {
	t.mu.Lock()
	defer t.mu.Unlock()
	rest := max(0, t.woken+t.interval-t.now())
	if t.timer == nil {
		t.timer = time.AfterFunc(rest, t.sub.Rouse)
	} else {
		t.timer.Reset(rest)
	}
}
