package feeds

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/hub"
)

// ReadMarks is where the read marks of users are kept; *store.Store provides it. All of it
// returns CodeUnavailable while the database is away.
type ReadMarks interface {
	// MoveMarks moves marks forward, tells the other servers, and returns where the marks
	// of these users are then. It names no user twice.
	MoveMarks(ctx context.Context, marks []taskfeed.Mark, server string) ([]taskfeed.Mark, error)
	// Marks returns the marks of those of the users who have one.
	Marks(ctx context.Context, users []string) ([]taskfeed.Mark, error)
	// Head returns an id that no event in the log exceeds.
	Head(ctx context.Context) (taskfeed.Cursor, error)
	// Unread counts what lies beyond a reader's mark, up to through, in the feeds of a
	// filter.
	Unread(ctx context.Context, reader string, f taskfeed.Filter, through taskfeed.Cursor) (taskfeed.Unread, error)
}

const (
	// markInterval is the least time between two writes of one user's mark. So a crash of
	// the server loses at most what was marked as read in that time.
	markInterval = time.Second
	// markPause is the least time between two looks for marks to write: one statement
	// writes those of many users.
	markPause = 20 * time.Millisecond
	// markBatch is how many marks one statement writes.
	markBatch = 1000
	// maxWaiting is how many users' marks may wait, for example while the database is down.
	maxWaiting = 100_000
	// flushTime is how long the last write at shutdown may take.
	flushTime = 2 * time.Second
)

var (
	errMarkAhead = &taskfeed.Error{Code: taskfeed.CodeMarkAhead,
		Message: "the mark is beyond the last event of the log; mark only what the server has sent"}
	errManyMarks = &taskfeed.Error{Code: taskfeed.CodeUnavailable,
		Message: "too many read marks wait to be written; try again in a moment"}
	errLateMark = &taskfeed.Error{Code: taskfeed.CodeUnavailable,
		Message: "the server is stopping; send the mark again in a moment"}
)

// marks are the read marks that wait to be written. Of each user only the greatest waits.
// It is safe for concurrent use.
type marks struct {
	mu      sync.Mutex
	waiting map[string]*waitingMark
	written map[string]time.Duration // by user: when, on the clock of connections; within the last markInterval
	closed  bool
	bell    chan struct{} // holds a value when there may be marks to write
}

// waitingMark is the mark of a user that waits.
type waitingMark struct {
	through taskfeed.Cursor
	sender  *hub.Subscriber // who need not be told of it; nil for nobody
	done    chan struct{}   // closed when it was written, or not; nil while nobody waits
	now     taskfeed.Cursor // where the mark is then
	err     error
}

func newMarks() *marks {
	return &marks{waiting: make(map[string]*waitingMark), written: make(map[string]time.Duration), bell: make(chan struct{}, 1)}
}

// add has a mark written soon. With wait it returns what is closed then.
func (m *marks) add(userID string, through taskfeed.Cursor, sender *hub.Subscriber, wait bool) (*waitingMark, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.waiting[userID]
	switch {
	case m.closed:
		return nil, errLateMark
	case w == nil && len(m.waiting) >= maxWaiting:
		return nil, errManyMarks
	case w == nil:
		w = &waitingMark{through: through, sender: sender}
		m.waiting[userID] = w
	case through > w.through:
		w.through, w.sender = through, sender
	case sender != w.sender:
		w.sender = nil // both are told where the mark is
	}
	if wait && w.done == nil {
		w.done = make(chan struct{})
	}
	select {
	case m.bell <- struct{}{}:
	default:
	}
	return w, nil
}

// due takes the marks of users of whom none was written within the interval, and returns
// how long it takes until there are more.
func (m *marks) due(now time.Duration) (due map[string]*waitingMark, next time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.written, func(_ string, at time.Duration) bool { return now-at >= markInterval })
	due, next = make(map[string]*waitingMark), never
	for user, w := range m.waiting {
		if at, ok := m.written[user]; ok {
			next = min(next, at+markInterval-now)
			continue
		}
		if len(due) == markBatch {
			next = 0
			break
		}
		due[user] = w
		m.written[user] = now
	}
	for user := range due {
		delete(m.waiting, user)
	}
	return due, next
}

// close refuses marks from now on and takes all that wait.
func (m *marks) close() map[string]*waitingMark {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	rest := m.waiting
	m.waiting = nil
	return rest
}

// KeepMarks writes the marks that connections and requests send until ctx is done, and
// then the rest.
func (f *Feeds) KeepMarks(ctx context.Context) {
	if f.deps.Marks == nil {
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			last, stop := context.WithTimeout(context.Background(), flushTime)
			defer stop()
			f.writeMarks(last, f.marks.close())
			return
		case <-f.marks.bell:
		case <-timer.C:
		}
		due, next := f.marks.due(f.now())
		f.writeMarks(ctx, due)
		if next != never {
			timer.Reset(max(next, 0))
		}
		select {
		case <-ctx.Done():
		case <-time.After(markPause):
		}
	}
}

// writeMarks writes marks, a bounded number in each statement.
func (f *Feeds) writeMarks(ctx context.Context, due map[string]*waitingMark) {
	for users := range slices.Chunk(slices.Sorted(maps.Keys(due)), markBatch) {
		batch := make([]taskfeed.Mark, len(users))
		for i, user := range users {
			batch[i] = taskfeed.Mark{UserID: user, Through: due[user].through}
		}
		now, err := f.deps.Marks.MoveMarks(ctx, batch, f.ServerID())
		if err != nil {
			f.log.Warn("read marks not written", "marks", len(batch), "error", err)
		}
		at := make(map[string]taskfeed.Cursor, len(now))
		for _, m := range now {
			at[m.UserID] = m.Through
		}
		for _, user := range users {
			f.markWritten(user, due[user], at[user], err)
		}
	}
}

// markWritten tells who waits and, after a success, the user's connections. A mark that
// could not be written is tried again if that may help, also when nobody waits any more.
func (f *Feeds) markWritten(userID string, w *waitingMark, now taskfeed.Cursor, err error) {
	w.now, w.err = now, err
	if w.done != nil {
		close(w.done)
	}
	if err == nil {
		sender := w.sender
		if now != w.through { // it was further already
			sender = nil
		}
		f.tellRead(userID, now, sender)
		return
	}
	if taskfeed.CodeOf(err) == taskfeed.CodeUnavailable {
		_, _ = f.marks.add(userID, w.through, w.sender, false) // while the server stops it is lost
	}
}

// tellRead tells the user's connections, except one, where the read mark is.
func (f *Feeds) tellRead(userID string, through taskfeed.Cursor, except *hub.Subscriber) {
	open := f.deps.Hub.Connections(userID)
	if open == 0 || open == 1 && except != nil {
		return
	}
	frame := taskfeed.AppendRead(nil, through)
	for _, m := range f.registry.ofUser(userID) {
		if sub := m.ownFeed(); sub != nil && sub != except && !sub.Plain() {
			sub.Tell(taskfeed.TypeFeedRead, frame)
		}
	}
}

// MarksMoved tells the connections of users whose marks another server has moved.
func (f *Feeds) MarksMoved(ctx context.Context, server string, users []string) {
	users = slices.DeleteFunc(users, func(user string) bool { return f.deps.Hub.Connections(user) == 0 })
	if f.deps.Marks == nil || server == f.ServerID() || len(users) == 0 {
		return
	}
	moved, err := f.deps.Marks.Marks(ctx, users)
	if err != nil {
		f.log.Warn("read marks of another server not read", "users", len(users), "error", err)
	}
	for _, m := range moved {
		f.tellRead(m.UserID, m.Through, nil)
	}
}

// checkMark refuses a mark beyond the log. This server may be a little behind the log.
func (f *Feeds) checkMark(ctx context.Context, through taskfeed.Cursor) error {
	if through <= f.deps.Hub.Stats().Head {
		return nil
	}
	head, err := f.deps.Marks.Head(ctx)
	if err == nil && through > head {
		err = errMarkAhead
	}
	return err
}

// MoveMark moves a user's mark forward and returns where it is when that was written. It
// returns CodeMarkAhead for one beyond the log.
func (f *Feeds) MoveMark(ctx context.Context, userID string, through taskfeed.Cursor) (now taskfeed.Cursor, err error) {
	if err := f.checkMark(ctx, through); err != nil {
		return 0, err
	}
	w, err := f.marks.add(userID, through, nil, true)
	if err != nil {
		return 0, err
	}
	select {
	case <-w.done:
		return w.now, w.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// markRead handles a client's mark; nil is one that is no cursor. The client hears of it
// only when it is refused.
func (c *socket) markRead(through *taskfeed.Cursor) {
	if c.feeds.deps.Marks == nil {
		c.feeds.metrics.ignored.Inc()
		return
	}
	code := taskfeed.CodeBadCursor
	if through != nil {
		code = taskfeed.CodeOf(c.sendMark(*through))
	}
	if code != "" {
		c.sub.Tell(taskfeed.TypeFeedReadRefused, taskfeed.AppendReadRefused(nil, code))
	}
}

func (c *socket) sendMark(through taskfeed.Cursor) error {
	ctx, stop := context.WithTimeout(context.Background(), c.feeds.cfg.WriteTimeout)
	defer stop()
	if err := c.feeds.checkMark(ctx, through); err != nil {
		return err
	}
	_, err := c.feeds.marks.add(c.userID, through, c.sub, false)
	return err
}
