package forward

import (
	"container/heap"
	"context"
	"errors"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/pause"
)

// entry is a place in the window: an event to deliver, or with a nil message the end of a
// page or an event that is done.
type entry struct {
	id      taskfeed.Cursor
	message *message
	first   time.Time // of the first try
	tries   int
	backoff pause.Backoff
	reason  string // of the last failure
	doomed  bool   // to be kept as a failure
}

// lane has the events of one user that are not done, oldest first. At most one of them is
// under way.
type lane struct {
	queue   []*entry
	failing time.Time // since when the endpoint takes none; zero: it takes them
	tried   time.Time // when the last try began
	due     time.Time // of the next try
	place   int       // in the heap of those that wait; -1: it is ready or under way
}

// dispatcher decides what is sent when. One goroutine uses it.
type dispatcher struct {
	*Forwarder
	at       *place
	window   []*entry // oldest first; the first one is not done
	bytes    int      // of the bodies
	lanes    map[string]*lane
	ready    []*lane
	delayed  delayed
	busy     int // events under way
	results  chan result
	accepted time.Time // when the endpoint took an event last
	stopped  error     // why no further event is sent
}

// result is how an attempt ended.
type result struct {
	lane *lane
	outcome
	buried bool  // the event is kept as a failure
	err    error // it could not be kept
}

// dispatch sends what is read until ctx is done, and returns when nothing is under way.
// What is under way ends with work, which abort ends.
func (f *Forwarder) dispatch(ctx, work context.Context, abort func(), at *place, pages <-chan page) error {
	d := &dispatcher{Forwarder: f, at: at, lanes: make(map[string]*lane), results: make(chan result)}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil && d.stopped == nil {
		now := time.Now()
		if now.UnixNano() > at.until.Load() { // this process was stopped for a while
			d.stopped = errLapsed
			break
		}
		d.wake(now)
		in := pages
		if d.full() {
			in = nil
			d.unblock()
		}
		d.start(work)
		timer.Reset(d.untilNext(now))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case p := <-in:
			d.add(p)
		case r := <-d.results:
			d.done(r)
		}
	}
	if errors.Is(d.stopped, errTaken) || errors.Is(d.stopped, errLapsed) {
		abort() // another process may send already
	}
	for d.busy > 0 {
		d.done(<-d.results)
	}
	return d.stopped
}

// full reports whether no more events are read for now.
func (d *dispatcher) full() bool {
	return len(d.window) >= d.cfg.Window || d.bytes >= d.cfg.WindowBytes
}

func (d *dispatcher) add(p page) {
	d.at.lost.Add(p.lost)
	for _, m := range p.messages {
		e := &entry{id: m.event, message: m, backoff: pause.Backoff{Least: d.cfg.MinPause, Most: d.cfg.MaxPause}}
		d.window = append(d.window, e)
		d.bytes += len(m.body)
		l := d.lanes[m.userID]
		if l == nil {
			l = &lane{place: -1}
			d.lanes[m.userID] = l
			d.ready = append(d.ready, l)
		}
		l.queue = append(l.queue, e)
	}
	d.counts.waiting.Add(int64(len(p.messages)))
	d.window = append(d.window, &entry{id: p.through})
	d.advance()
}

// start begins as many attempts as may be under way.
func (d *dispatcher) start(work context.Context) {
	for len(d.ready) > 0 && d.busy < d.cfg.Parallel {
		l := d.ready[0]
		d.ready = d.ready[1:]
		d.busy++
		e := l.queue[0]
		if e.doomed {
			failure := e.message.failure(e.tries, e.reason)
			go func() {
				held, err := d.ledger.AddForwardFailure(work, d.cfg.Name, d.holder, failure)
				if err == nil && !held {
					err = errTaken
				}
				d.results <- result{lane: l, buried: err == nil, err: err}
			}()
			continue
		}
		if l.tried = time.Now(); e.first.IsZero() {
			e.first = l.tried
		}
		go func() {
			o := d.post.post(work, e.message)
			if !o.delivered && work.Err() != nil {
				d.results <- result{lane: l, err: context.Cause(work)}
				return
			}
			d.results <- result{lane: l, outcome: o}
		}()
	}
}

func (d *dispatcher) done(r result) {
	d.busy--
	e, now := r.lane.queue[0], time.Now()
	switch {
	case errors.Is(r.err, errTaken):
		d.stopped = errTaken
	case r.err != nil && !e.doomed: // interrupted at the end
	case r.err != nil:
		d.cfg.Logger.Warn("cannot keep an event that the endpoint did not take", "name", d.cfg.Name, "error", r.err)
		d.delay(r.lane, now.Add(e.backoff.Next()))
	case r.gone:
		d.stopped = ErrGone
	case r.delivered:
		d.counts.delivered.Add(1)
		d.accepted, r.lane.failing = now, time.Time{}
		d.settle(r.lane)
	case r.buried:
		d.counts.failures.Add(1)
		d.cfg.Logger.Error("gave up to forward an event: it is kept as a failure", "name", d.cfg.Name, "id", int64(e.id), "tries", e.tries, "reason", e.reason)
		d.settle(r.lane)
	default:
		d.failed(r, e, now)
	}
}

// failed notes that the endpoint did not take an event.
func (d *dispatcher) failed(r result, e *entry, now time.Time) {
	e.tries++
	e.reason = r.reason
	if r.lane.failing.IsZero() {
		r.lane.failing = now
	}
	last := e.first.Add(d.cfg.GiveUpAfter)
	if !now.Before(last) {
		e.doomed = true
		d.ready = append(d.ready, r.lane)
		return
	}
	d.counts.retries.Add(1)
	wait := min(max(e.backoff.Next(), r.retryAfter), last.Sub(now))
	d.cfg.Logger.Warn("the endpoint did not take an event", "name", d.cfg.Name, "id", int64(e.id), "tries", e.tries, "reason", e.reason, "next_try", wait.Round(time.Millisecond).String())
	d.delay(r.lane, now.Add(wait))
}

// settle takes the first event of a lane out.
func (d *dispatcher) settle(l *lane) {
	e := l.queue[0]
	l.queue = l.queue[1:]
	d.bytes -= len(e.message.body)
	d.counts.waiting.Add(-1)
	if len(l.queue) > 0 {
		d.ready = append(d.ready, l)
	} else {
		delete(d.lanes, e.message.userID)
	}
	e.message = nil
	d.advance()
}

// advance moves the cursor up to the oldest event that is not done.
func (d *dispatcher) advance() {
	for len(d.window) > 0 && d.window[0].message == nil {
		d.at.cursor.Store(int64(d.window[0].id))
		d.window = d.window[1:]
	}
}

// unblock gives up the oldest event of a full window if it alone is in the way: the
// endpoint has taken events of others since it takes none of this user, and has refused
// this one again after that.
func (d *dispatcher) unblock() {
	e := d.window[0]
	l := d.lanes[e.message.userID]
	if e.tries == 0 || e.doomed || l.place < 0 || !d.accepted.After(l.failing) || !l.tried.After(d.accepted) {
		return
	}
	e.doomed = true
	heap.Remove(&d.delayed, l.place)
	d.ready = append(d.ready, l)
}

// delay lets a lane wait until a time.
func (d *dispatcher) delay(l *lane, due time.Time) {
	l.due = due
	heap.Push(&d.delayed, l)
}

// wake makes the lanes ready whose time has come.
func (d *dispatcher) wake(now time.Time) {
	for len(d.delayed) > 0 && !d.delayed[0].due.After(now) {
		d.ready = append(d.ready, heap.Pop(&d.delayed).(*lane))
	}
}

// idle is how long the dispatcher sleeps when nothing is delayed.
const idle = time.Hour

func (d *dispatcher) untilNext(now time.Time) time.Duration {
	if len(d.delayed) == 0 {
		return idle
	}
	return max(d.delayed[0].due.Sub(now), 0)
}

// delayed are the lanes that wait for their next try: a heap by that time.
type delayed []*lane

func (h delayed) Len() int           { return len(h) }
func (h delayed) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h delayed) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].place, h[j].place = i, j }

// Push implements heap.Interface.
func (h *delayed) Push(x any) {
	l := x.(*lane)
	l.place = len(*h)
	*h = append(*h, l)
}

// Pop implements heap.Interface.
func (h *delayed) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	l.place = -1
	return l
}
