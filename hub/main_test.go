package hub

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// memLog is a log in memory. A test may commit to it without telling the hub, as on
// a server that hears of events late.
type memLog struct {
	// asked runs before and answered after a read has seen the log; both without
	// its lock.
	asked, answered func(ctx context.Context) error

	mu     sync.Mutex
	events []taskfeed.Event // everything ever committed
	lost   taskfeed.Cursor  // retention has dropped what is at or below
	head   taskfeed.Cursor  // what Head returns when it is above the last event
	page   int              // when positive, the most events of a page, whatever the limit
	scan   int              // when positive, the most events that a read looks at
	reads  int

	said answers
}

// answers are the last answers of the log.
type answers struct {
	head taskfeed.Cursor // when asked for its head
	lost taskfeed.Cursor // what was lost when everything kept was read
	gone taskfeed.Cursor // the cursor that it refused
}

func (l *memLog) commit(events ...taskfeed.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, events...)
}

func (l *memLog) lose(upTo taskfeed.Cursor) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = max(l.lost, upTo)
}

func (l *memLog) last() taskfeed.Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	head := l.head
	if n := len(l.events); n > 0 {
		head = max(head, l.events[n-1].ID)
	}
	return head
}

func (l *memLog) readCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reads
}

func (l *memLog) Head(ctx context.Context) (taskfeed.Cursor, error) {
	if err := call(ctx, l.asked); err != nil {
		return 0, err
	}
	head := l.last()
	l.mu.Lock()
	l.said.head = head
	l.mu.Unlock()
	return head, call(ctx, l.answered)
}

func (l *memLog) After(ctx context.Context, f taskfeed.Filter, after taskfeed.Cursor, limit int) ([]taskfeed.Event, taskfeed.Cursor, bool, error) {
	if err := call(ctx, l.asked); err != nil {
		return nil, 0, false, err
	}
	events, through, more, err := l.after(f, after, limit)
	if err != nil {
		return nil, 0, false, err
	}
	return events, through, more, call(ctx, l.answered)
}

func (l *memLog) after(f taskfeed.Filter, after taskfeed.Cursor, limit int) (page []taskfeed.Event, through taskfeed.Cursor, more bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	if after > 0 && after < l.lost {
		l.said.gone = after
		return nil, 0, false, &taskfeed.Error{Code: taskfeed.CodeGone, Message: "gone"}
	}
	if after == 0 {
		l.said.lost = l.lost
	}
	if l.page > 0 {
		limit = min(limit, l.page)
	}
	if f.Compact {
		return l.compacted(f, after, limit)
	}
	scanned := 0
	for _, e := range l.events {
		if e.ID <= max(after, l.lost) {
			continue
		}
		if f.Match(&e) {
			page = append(page, e)
		}
		if scanned++; len(page) == limit || scanned == l.scan {
			return page, e.ID, true, nil
		}
	}
	return page, 0, false, nil
}

// compacted looks at no more than scan events, and leaves out each after which one of its
// task comes that weighs as much.
func (l *memLog) compacted(f taskfeed.Filter, after taskfeed.Cursor, limit int) (page []taskfeed.Event, through taskfeed.Cursor, more bool, err error) {
	var passed []taskfeed.Event
	for _, e := range l.events {
		if e.ID <= max(after, l.lost) {
			continue
		}
		if more = l.scan > 0 && len(passed) == l.scan; more {
			break
		}
		passed = append(passed, e)
		through = e.ID
	}
	for i, e := range passed {
		if !f.Match(&e) || slices.ContainsFunc(passed[i+1:], func(later taskfeed.Event) bool { return f.Match(&later) && outweighs(&later, &e) }) {
			continue
		}
		if page = append(page, e); len(page) == limit {
			return page, e.ID, true, nil
		}
	}
	return page, through, more, nil
}

// outweighs reports whether e does not matter any more once the later one has come.
func outweighs(later, e *taskfeed.Event) bool {
	rank := func(t taskfeed.Type) int {
		return map[taskfeed.Type]int{taskfeed.TypeTaskStalled: 1, taskfeed.TypeTaskProgress: 2, taskfeed.TypeTaskQueued: 3, taskfeed.TypeTaskStarted: 3, taskfeed.TypeTaskCompleted: 3, taskfeed.TypeTaskDeleted: 3}[t]
	}
	return e.TaskID != "" && later.ID > e.ID && later.UserID == e.UserID && later.TaskID == e.TaskID && rank(e.Type) > 0 && rank(later.Type) >= rank(e.Type)
}

func call(ctx context.Context, hook func(context.Context) error) error {
	if hook == nil {
		return nil
	}
	return hook(ctx)
}

// rig is a hub over a log in memory whose head is 10, with nothing in it. It has no
// recent log unless the test asks for one.
type rig struct {
	*Hub
	log *memLog
}

func newRig(t testing.TB, cfg Config) *rig {
	t.Helper()
	if cfg.RecentLogBytes == 0 {
		cfg.RecentLogBytes = -1
	}
	log := &memLog{}
	h, err := New(log, cfg)
	if err != nil {
		t.Fatalf("New(%+v): %v", cfg, err)
	}
	h.SetHead(10)
	return &rig{h, log}
}

// announce commits events and publishes them.
func (r *rig) announce(events ...taskfeed.Event) {
	r.log.commit(events...)
	r.Publish(events)
}

// tap is a subscriber and the number of times it was woken.
type tap struct {
	*Subscriber
	wakes int
}

func (r *rig) tap(t testing.TB, opts SubscribeOptions) *tap {
	t.Helper()
	tp := &tap{}
	opts.Wake = func() { tp.wakes++ }
	s, err := r.Subscribe(opts)
	if err != nil {
		t.Fatalf("Subscribe(%+v): %v", opts.Filter, err)
	}
	t.Cleanup(s.Close)
	tp.Subscriber = s
	return tp
}

// live returns a parked subscriber of one user, from the head on.
func (r *rig) live(t testing.TB, user string) *tap {
	t.Helper()
	tp := r.tap(t, SubscribeOptions{Filter: of(user)})
	expect(t, tp)
	return tp
}

func of(user string) taskfeed.Filter { return taskfeed.Filter{UserID: user} }

// groups is the feed of a user who sees groups too.
func groups(user string, feeds ...string) taskfeed.Filter {
	return taskfeed.Filter{UserID: user, Feeds: feeds}
}

func from(c taskfeed.Cursor) *taskfeed.Cursor { return &c }

func progress(id taskfeed.Cursor, user string) taskfeed.Event {
	return taskfeed.Event{ID: id, UserID: user, TaskID: "task-" + user, Type: taskfeed.TypeTaskProgress,
		Version: int64(id), Data: []byte(`{"progress":40}`), Timestamp: time.Unix(1_800_000_000, 0)}
}

func broadcast(id taskfeed.Cursor) taskfeed.Event {
	return taskfeed.Event{ID: id, Type: "maintenance", Data: []byte(`{}`), Timestamp: time.Unix(1_800_000_000, 0)}
}

// show abbreviates frames: an event's id, live@cursor, expired@cursor.
func show(t testing.TB, frames []*Frame) []string {
	t.Helper()
	var out []string
	for _, f := range frames {
		parsed, err := taskfeed.ParseFrame(f.Bytes)
		if err != nil {
			t.Fatalf("frame %s: %v", f.Bytes, err)
		}
		text, id := f.ID.String(), parsed.Event.ID
		switch f.Type {
		case taskfeed.TypeFeedLive:
			text, id = fmt.Sprintf("live@%d", f.ID), parsed.Cursor
		case taskfeed.TypeFeedReset:
			text, id = fmt.Sprintf("%s@%d", parsed.Reason, f.ID), parsed.Cursor
		}
		if id != f.ID || parsed.Type != f.Type || parsed.Event.TaskID != f.TaskID {
			t.Errorf("frame says %s, want id %d, type %s, task %q", f.Bytes, f.ID, f.Type, f.TaskID)
		}
		out = append(out, text)
	}
	return out
}

// next calls Next, which must not fail.
func next(t testing.TB, s *tap) []*Frame {
	t.Helper()
	frames, err := s.Next(t.Context())
	if err != nil {
		t.Fatalf("Next: %v", err)
	}
	return frames
}

// expect reads until the subscriber parks and compares what came.
func expect(t testing.TB, s *tap, want ...string) {
	t.Helper()
	var got []string
	for {
		frames := next(t, s)
		if len(frames) == 0 {
			break
		}
		got = append(got, show(t, frames)...)
	}
	if !slices.Equal(got, want) {
		t.Errorf("frames %v, want %v", got, want)
	}
	audit(t, s.hub)
}

func expectWakes(t testing.TB, s *tap, want int) {
	t.Helper()
	if s.wakes != want {
		t.Errorf("woken %d times, want %d", s.wakes, want)
	}
}

func expectCode(t testing.TB, err error, want taskfeed.Code) {
	t.Helper()
	if got := taskfeed.CodeOf(err); got != want {
		t.Errorf("error %v has code %q, want %q", err, got, want)
	}
}
