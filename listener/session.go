package listener

import (
	"context"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/locks"
)

// Session is one connection that leads or follows; *store.Session provides it.
// Each part of the listener takes the small interface that it needs.
type Session interface {
	Candidate
	Follower
	Leader
	Doorbell
	Mover
	Maintainer
	LockChecker
	Log
	// Name names the database. After a failover or a restore it has another name.
	Name(ctx context.Context) (string, error)
	// Watch makes the session call worked, from another goroutine, every so often
	// while a long statement makes progress in the database.
	Watch(worked func())
	// Alive reports whether the session can still be used after an error.
	Alive() bool
	// Close ends the session and releases its locks.
	Close()
}

// Candidate competes for leadership.
type Candidate interface {
	// TryLead tries to take the leader lock.
	TryLead(ctx context.Context) (bool, error)
	// EndStalledLeader ends a leader's session that nobody reads from any more.
	EndStalledLeader(ctx context.Context) (ended bool, err error)
}

// Follower is woken by the leader.
type Follower interface {
	// Follow makes the leader ring this session. Call it again from time to time:
	// it may not have got its lock. Unfollow ends that.
	Follow(ctx context.Context) error
	Unfollow(ctx context.Context) error
	// Wait sleeps until the session is rung or d is over, and reports which.
	Wait(ctx context.Context, d time.Duration) (bool, error)
}

// Leader prepares the log for a new leader.
type Leader interface {
	// TakeOver prepares the log for a new leader that has seen events up to seen.
	// It reports whether ids had to jump.
	TakeOver(ctx context.Context, seen taskfeed.Cursor) (jumped bool, err error)
	// Lineage names the log, and its epoch, which rises when ids jump.
	Lineage(ctx context.Context) (id [16]byte, epoch int64, err error)
	// DoorbellInUse reports whether writers ring at all.
	DoorbellInUse() bool
	// Listen makes writers ring this session while it is armed.
	Listen(ctx context.Context) error
}

// Mover moves changes into the log.
type Mover interface {
	// Move appends the first visible changes to the log. After an error they may
	// be in the log all the same.
	Move(ctx context.Context) (taskfeed.Moved, error)
	// MoveBacklog appends everything that is visible now, page by page.
	MoveBacklog(ctx context.Context, appended func(taskfeed.Moved) error) error
	// AfterLook does from time to time what later looks need. It returns an error only
	// when the session has ended.
	AfterLook(ctx context.Context) error
}

// Maintainer does what is due from time to time.
type Maintainer interface {
	// Maintain creates partitions ahead of time and drops those past retention.
	Maintain(ctx context.Context, retention time.Duration) error
	// TellStalled makes changes for running tasks that did not change for so long, once
	// until they change. It looks at a part of the tasks; more says that others are left.
	TellStalled(ctx context.Context, after time.Duration) (told int, more bool, err error)
}

// LockChecker looks at the locks by which servers agree.
type LockChecker interface {
	// CheckLocks looks who holds the locks, and ends the sessions that hold one without
	// being a server where it may.
	CheckLocks(ctx context.Context) (locks.Seen, error)
	// TellEngine tells other servers whether this one reaches the engine.
	TellEngine(ctx context.Context, reached bool) error
}

// Log is the part of the event log that a listener reads.
type Log interface {
	// After returns at most limit events after the cursor and whether there may
	// be more. It returns CodeGone when retention has passed the cursor.
	After(ctx context.Context, f taskfeed.Filter, after taskfeed.Cursor, limit int) (events []taskfeed.Event, through taskfeed.Cursor, more bool, err error)
	// LastID returns the id of the last committed event, even if it has been dropped.
	LastID(ctx context.Context) (taskfeed.Cursor, error)
}
