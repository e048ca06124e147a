package listener_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/locks"
	"github.com/taskfeed/taskfeed/listener"
)

// calls records the calls of the fakes that share it.
type calls struct {
	mu   sync.Mutex
	made []string
}

// do runs change while no fake is in use.
func (c *calls) do(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

func (c *calls) add(name string) { c.do(func() { c.made = append(c.made, name) }) }

func (c *calls) all() (names []string) {
	c.do(func() { names = append(names, c.made...) })
	return names
}

// count returns how often a call was made.
func (c *calls) count(name string) (n int) {
	for _, made := range c.all() {
		if made == name {
			n++
		}
	}
	return n
}

// fakeSession is a session in memory, made of one fake for each part. The zero
// value leads at once and has nothing to do. Set its functions before Run.
type fakeSession struct {
	fakeLeadership
	fakeBell
	fakeMover
	fakeLog
	calls
	dead   bool
	name   func() (string, error)
	worked func() // as given to Watch
}

// newFakeSession returns a session whose parts record their calls in one place.
func newFakeSession() *fakeSession {
	s := &fakeSession{}
	s.fakeLeadership.calls, s.fakeBell.calls, s.fakeMover.calls, s.fakeLog.calls = &s.calls, &s.calls, &s.calls, &s.calls
	return s
}

func (s *fakeSession) Watch(worked func()) { s.do(func() { s.worked = worked }) }
func (s *fakeSession) Close()              { s.add("close") }

func (s *fakeSession) Name(context.Context) (string, error) {
	if s.name == nil {
		return "here", nil
	}
	return s.name()
}

func (s *fakeSession) Alive() (alive bool) {
	s.do(func() { alive = !s.dead })
	return alive
}

// fakeLeadership is a Candidate, a Follower's locks, and a LockChecker.
type fakeLeadership struct {
	*calls
	tryLead    func() (bool, error)
	checkLocks func() (bool, []locks.Found, error)
	engine     func() bool // another server reaches it
	led        func() bool // a server leads
}

func (f *fakeLeadership) TryLead(context.Context) (bool, error) {
	f.add("try to lead")
	if f.tryLead != nil {
		return f.tryLead()
	}
	return true, nil
}

func (f *fakeLeadership) EndStalledLeader(context.Context) (bool, error) {
	f.add("end stalled leader")
	return false, nil
}

func (f *fakeLeadership) CheckLocks(context.Context) (seen locks.Seen, err error) {
	f.add("check locks")
	seen.Led = f.led == nil || f.led()
	if f.checkLocks != nil {
		seen.Led, seen.Intruders, err = f.checkLocks()
	}
	seen.Engine = f.engine != nil && f.engine()
	return seen, err
}

func (f *fakeLeadership) TellEngine(_ context.Context, reached bool) error {
	f.add(fmt.Sprint("engine reached: ", reached))
	return nil
}

func (f *fakeLeadership) TakeOver(context.Context, taskfeed.Cursor) (bool, error) { return false, nil }
func (f *fakeLeadership) Lineage(context.Context) ([16]byte, int64, error) {
	f.add("lineage")
	return [16]byte{1}, 7, nil
}
func (f *fakeLeadership) Follow(context.Context) error   { return nil }
func (f *fakeLeadership) Unfollow(context.Context) error { return nil }

// fakeBell is a doorbell that the test rings. The zero value can be armed and
// nobody rings.
type fakeBell struct {
	*calls
	busy bool          // a writer that did not ring is in flight: arming fails
	ring time.Duration // somebody rings this long after falling asleep; 0: nobody rings
	err  error         // of every call
}

func newFakeBell() *fakeBell { return &fakeBell{calls: &calls{}} }

// call records a call and returns its error.
func (b *fakeBell) call(name string) (err error) {
	b.add(name)
	b.do(func() { err = b.err })
	return err
}

func (b *fakeBell) DoorbellInUse() bool          { return true }
func (b *fakeBell) Listen(context.Context) error { return b.call("listen") }
func (b *fakeBell) Disarm(context.Context) error { return b.call("disarm") }

func (b *fakeBell) Arm(context.Context) (bool, error) {
	err := b.call("arm")
	return !b.busy && err == nil, err
}

func (b *fakeBell) Wait(ctx context.Context, d time.Duration) (rang bool, err error) {
	if err := b.call("wait"); err != nil {
		return false, err
	}
	b.do(func() {
		if rang = b.ring > 0 && b.ring < d; rang {
			d = b.ring
		}
	})
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-time.After(d):
		return rang, nil
	}
}

// fakeMover is a Mover and a Maintainer.
type fakeMover struct {
	*calls
	move        func() (taskfeed.Moved, error)
	afterLook   func() error
	tellStalled func() (int, bool, error)
}

func (f *fakeMover) Move(context.Context) (taskfeed.Moved, error) {
	f.add("move")
	if f.move != nil {
		return f.move()
	}
	return taskfeed.Moved{}, nil
}

func (f *fakeMover) MoveBacklog(context.Context, func(taskfeed.Moved) error) error {
	f.add("move backlog")
	return nil
}

func (f *fakeMover) AfterLook(context.Context) error {
	f.add("after look")
	if f.afterLook != nil {
		return f.afterLook()
	}
	return nil
}

func (f *fakeMover) Maintain(context.Context, time.Duration) error {
	f.add("maintain")
	return nil
}

func (f *fakeMover) TellStalled(context.Context, time.Duration) (told int, more bool, err error) {
	f.add("tell stalled")
	if f.tellStalled != nil {
		return f.tellStalled()
	}
	return 0, false, nil
}

// fakeLog is a Log.
type fakeLog struct {
	*calls
	after func(after taskfeed.Cursor) ([]taskfeed.Event, error)
	whole bool // a read has one page; otherwise an empty page ends it
}

func (f *fakeLog) After(_ context.Context, _ taskfeed.Filter, after taskfeed.Cursor, _ int) ([]taskfeed.Event, taskfeed.Cursor, bool, error) {
	f.add("read")
	if f.after != nil {
		events, err := f.after(after)
		return events, 0, len(events) > 0 && !f.whole, err
	}
	return nil, 0, false, nil
}

func (f *fakeLog) LastID(context.Context) (taskfeed.Cursor, error) { return 0, nil }

// pass lets virtual time pass, until everybody else in the bubble waits.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// feed records what a listener publishes.
type feed struct {
	mu        sync.Mutex
	ids       []taskfeed.Cursor
	heads     []taskfeed.Cursor
	wrong     []string
	forgotten int
	skips     bool          // it can do without events of backlogs
	skipped   int           // events
	more      chan struct{} // holds a value when something was published since it was last empty
}

func newFeed() *feed { return &feed{more: make(chan struct{}, 1)} }

func (f *feed) SetHead(head taskfeed.Cursor) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heads = append(f.heads, head)
}

func (f *feed) Skip(last taskfeed.Cursor, count int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.skips {
		f.skipped += count
		f.heads = append(f.heads, last)
	}
	return f.skips
}

func (f *feed) ForgetLog() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgotten++
}

// forgets returns how often the feed was told to forget the log.
func (f *feed) forgets() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.forgotten
}

func (f *feed) Publish(events []taskfeed.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.heads) == 0 {
		f.wrong = append(f.wrong, "something was published before the head was set")
	}
	for _, e := range events {
		if n := len(f.ids); n > 0 && e.ID <= f.ids[n-1] {
			f.wrong = append(f.wrong, fmt.Sprintf("event %d was published after event %d", e.ID, f.ids[n-1]))
		}
		f.ids = append(f.ids, e.ID)
	}
	select {
	case f.more <- struct{}{}:
	default:
	}
}

// published returns the ids so far, and fails the test when their order is wrong.
func (f *feed) published(t *testing.T) []taskfeed.Cursor {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.wrong {
		t.Error(w)
	}
	f.wrong = nil
	return append([]taskfeed.Cursor(nil), f.ids...)
}

func (f *feed) head() taskfeed.Cursor {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.heads) == 0 {
		return -1
	}
	return f.heads[len(f.heads)-1]
}

// runFake runs a listener on a session of the test's own until the returned
// function is called. It is for bubbles of synctest.
func runFake(t *testing.T, s listener.Session, f *feed, cfg listener.Config) (*listener.Listener, func()) {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	l, err := listener.New(func(context.Context) (listener.Session, error) { return s, nil }, f, cfg)
	if err != nil {
		t.Fatalf("new: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	return l, func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: got %v, want nil after an ordered stop", err)
		}
	}
}
