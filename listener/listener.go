// Package listener keeps one server at a time moving changes into the log and
// all servers reading it.
//
// A listener owns one session with the database and does everything over it. The
// server whose session holds the leader lock is the sequencer: it moves changes
// into the log and publishes what it moved. The others follow: they read the log
// and publish the same events, and try again and again to lead. Whoever leads
// sleeps behind a doorbell (doorbell.go) while there is nothing to do.
//
// Correctness rests on the tables alone. NOTIFY, forged, lost or switched off,
// changes only how soon the listener looks. A lost session costs leadership and
// time, never an event: what is still in changes is not in the log, and what is
// in the log is read from where this server stopped publishing.
package listener

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/locks"
	"github.com/taskfeed/taskfeed/internal/pause"
)

// Session is one connection that leads or follows; *store.Session provides it.
type Session interface {
	Leadership
	Doorbell
	Sequencer
	Log
	// Watch has worked called now and then while a statement takes long and the
	// database works at it, from another goroutine.
	Watch(worked func())
	// Alive reports whether the session may still be used after an error.
	Alive() bool
	// Close ends the session and releases its locks.
	Close()
}

// Leadership decides which server moves changes.
type Leadership interface {
	// TryLead tries to take the leader lock.
	TryLead(ctx context.Context) (bool, error)
	// TakeOver prepares the log for a new leader that has seen events up to seen.
	TakeOver(ctx context.Context, seen taskfeed.Cursor) (jumped bool, err error)
	// EndStalledLeader ends a leader's session that nobody reads from any more.
	EndStalledLeader(ctx context.Context) (ended bool, err error)
	// CheckLocks reports whether a server leads, and the sessions that are no
	// server's and keep a lock of servers; it ends those that it may end.
	CheckLocks(ctx context.Context) (led bool, found []locks.Found, err error)
	// Follow has the leader ring this session; call it again now and then. Unfollow
	// ends that.
	Follow(ctx context.Context) error
	Unfollow(ctx context.Context) error
}

// Sequencer moves changes into the log.
type Sequencer interface {
	// Move appends the first visible changes to the log. After an error they may
	// be in the log all the same.
	Move(ctx context.Context) (taskfeed.Moved, error)
	// MoveBacklog appends all that is visible now, page by page.
	MoveBacklog(ctx context.Context, appended func(taskfeed.Moved) error) error
	// Maintain makes partitions ahead and drops those that are past retention.
	Maintain(ctx context.Context, retention time.Duration) error
}

// Log is the part of the event log that a listener reads.
type Log interface {
	// After returns at most limit events after the cursor and whether there may
	// be more. CodeGone when retention has passed the cursor.
	After(ctx context.Context, f taskfeed.Filter, after taskfeed.Cursor, limit int) (events []taskfeed.Event, through taskfeed.Cursor, more bool, err error)
	// LastID returns the id of the last committed event, dropped by now or not.
	LastID(ctx context.Context) (taskfeed.Cursor, error)
}

// Feed takes events in the order of their ids; *hub.Hub provides it.
type Feed interface {
	// SetHead says that all events up to head can be read from the log.
	SetHead(head taskfeed.Cursor)
	// Publish hands on events; ids ascend from call to call.
	Publish(events []taskfeed.Event)
}

// Listener is one server's part in sequencing and following. Run may be called
// once; Stats and Ready are safe for concurrent use.
type Listener struct {
	cfg     Config
	connect func(context.Context) (Session, error)
	feed    Feed
	quickly time.Duration // for the doorbell
	stats   stats
	trouble atomic.Pointer[string] // what keeps the feed from going on
	locks   lockWatch

	// Owned by Run.
	started    bool            // the feed knows where the log stood
	published  taskfeed.Cursor // last event handed to the feed
	behind     bool            // the log may hold events after published
	maintained time.Time
}

// New returns a listener that opens its sessions with connect.
func New(connect func(context.Context) (Session, error), feed Feed, cfg Config) (*Listener, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Listener{cfg: cfg, connect: connect, feed: feed, quickly: quickly}, nil
}

// Run leads or follows until ctx is done, and returns nil then. Whatever goes
// wrong before that is logged, shown by Ready, and tried again.
func (l *Listener) Run(ctx context.Context) error {
	retry := newBackoff()
	for ctx.Err() == nil {
		began := time.Now()
		err := l.serve(ctx)
		l.stats.leader.Store(false)
		if ctx.Err() != nil {
			return nil
		}
		l.fail(err)
		if time.Since(began) > 2*maxBackoff {
			retry.Reset() // it was well: try again at once
			continue
		}
		pause.For(ctx, retry.Next())
	}
	return nil
}

// serve uses one session until it fails.
func (l *Listener) serve(ctx context.Context) error {
	s, err := l.connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	s.Watch(l.progress)
	if err := l.follow(ctx, s); err != nil {
		return err
	}
	return l.lead(ctx, s)
}

// follow publishes what the leader appends until this server leads.
func (l *Listener) follow(ctx context.Context, s Session) error {
	if leads, err := s.TryLead(ctx); err != nil || leads {
		return err
	}
	if err := errors.Join(l.checkLocks(ctx, s), s.Follow(ctx)); err != nil { // before it is ready: there may be nobody to follow
		return err
	}
	l.cfg.Logger.Info("following the log")
	var rings rings
	var tried, searched time.Time
	for {
		found, err := l.catchUp(ctx, s)
		if err != nil {
			return err
		}
		l.well()
		if rings.vain(found) {
			pause.For(ctx, maxPause)
		}
		rang, err := s.Wait(ctx, l.cfg.TakeoverInterval)
		if err != nil {
			return err
		}
		if rings.note(rang); rang {
			l.stats.wakeups.Add(1)
			if time.Since(tried) < l.cfg.TakeoverInterval {
				continue
			}
		}
		tried = time.Now()
		if leads, err := s.TryLead(ctx); err != nil {
			return err
		} else if leads {
			return s.Unfollow(ctx)
		}
		if time.Since(searched) < l.cfg.FallbackInterval {
			continue
		}
		searched = time.Now()
		if err := errors.Join(l.endStalledLeader(ctx, s), l.checkLocks(ctx, s), s.Follow(ctx)); err != nil {
			return err
		}
	}
}

func (l *Listener) endStalledLeader(ctx context.Context, s Session) error {
	ended, err := s.EndStalledLeader(ctx)
	if ended {
		l.cfg.Logger.Warn("ended the session of a leader that had stalled")
	}
	return err
}

// lead moves changes until the session fails.
func (l *Listener) lead(ctx context.Context, s Session) error {
	l.locks.led(true)
	if err := l.takeOver(ctx, s); err != nil {
		return err
	}
	l.stats.leader.Store(true)
	bell := doorbell{session: s, fallback: l.cfg.FallbackInterval, quickly: l.quickly, wakeups: &l.stats.wakeups}
	retry := newBackoff()
	for {
		found, err := l.look(ctx, s)
		switch {
		case err == nil:
			l.well()
			retry.Reset()
		case !s.Alive() || ctx.Err() != nil:
			return err
		default: // one statement failed: the session and its lock are still ours
			l.fail(err)
			pause.For(ctx, retry.Next())
			continue
		}
		l.maintain(ctx, s)
		if err := l.checkLocksOfLeader(ctx, s); err != nil {
			return err
		}
		if err := bell.rest(ctx, found); err != nil {
			return err
		}
	}
}

// takeOver makes this server ready to number events: all that earlier leaders
// appended has been published, and ids that clients may have seen are passed.
func (l *Listener) takeOver(ctx context.Context, s Session) error {
	if _, err := l.catchUp(ctx, s); err != nil {
		return err
	}
	jumped, err := s.TakeOver(ctx, l.published)
	if err != nil {
		return err
	}
	if jumped {
		l.cfg.Logger.Warn("the database is not the one that the log was last written on: ids jumped", "seen", int64(l.published))
	}
	if err := s.Listen(ctx); err != nil {
		return err
	}
	l.cfg.Logger.Info("leading: this server is the sequencer", "after", int64(l.published), "doorbell", s.DoorbellInUse())
	l.maintained = time.Time{}
	return nil
}

// look moves all there is now and publishes it.
func (l *Listener) look(ctx context.Context, s Session) (found int, err error) {
	if l.behind {
		if _, err := l.catchUp(ctx, s); err != nil {
			return 0, err
		}
	}
	l.behind = true // until we know that all that was moved has been published
	m, err := s.Move(ctx)
	if err != nil {
		return 0, err
	}
	if err := l.publish(ctx, s, m); err != nil {
		return 0, err
	}
	found = m.Count
	if m.More {
		err = s.MoveBacklog(ctx, func(m taskfeed.Moved) error {
			found += m.Count
			return l.publish(ctx, s, m)
		})
	}
	l.behind = err != nil
	return found, err
}

// publish hands on what was moved, reading from the log what did not fit.
func (l *Listener) publish(ctx context.Context, s Session, m taskfeed.Moved) error {
	l.stats.moves.Add(1)
	l.stats.captured.Add(uint64(m.Count))
	l.progress()
	l.hand(m.Events)
	if m.Partial() {
		_, err := l.catchUp(ctx, s)
		return err
	}
	return nil
}

func (l *Listener) hand(events []taskfeed.Event) {
	if len(events) == 0 {
		return
	}
	l.feed.Publish(events)
	l.published = events[len(events)-1].ID
}

// page is how many events one read of the log asks for.
const page = 1000

// catchUp publishes what the log holds beyond the last event published, and
// reports how many events that were. The first time it only tells the feed where
// the log stands.
func (l *Listener) catchUp(ctx context.Context, s Session) (found int, err error) {
	if !l.started {
		return 0, l.skipToEnd(ctx, s)
	}
	for {
		events, _, more, err := s.After(ctx, taskfeed.Filter{All: true}, l.published, page)
		if taskfeed.CodeOf(err) == taskfeed.CodeGone {
			return found, l.skipToEnd(ctx, s) // away for longer than retention: subscribers read, or are reset
		}
		if err != nil {
			return found, err
		}
		l.hand(events)
		found += len(events)
		l.progress()
		if !more || len(events) == 0 {
			l.behind = false
			return found, nil
		}
	}
}

func (l *Listener) skipToEnd(ctx context.Context, s Session) error {
	last, err := s.LastID(ctx)
	if err != nil {
		return err
	}
	l.feed.SetHead(last)
	l.published = max(l.published, last)
	l.started, l.behind = true, false
	return nil
}

func (l *Listener) maintain(ctx context.Context, s Session) {
	if time.Since(l.maintained) < l.cfg.MaintainInterval {
		return
	}
	l.maintained = time.Now()
	if err := s.Maintain(ctx, max(l.cfg.Retention, 0)); err != nil && ctx.Err() == nil {
		l.cfg.Logger.Warn("partitions could not be looked after; trying again later", "error", err)
	}
}

// progress notes that the feed goes on: a long backlog is no silence.
func (l *Listener) progress() { l.stats.lookedAt.Store(time.Now().UnixNano()) }

// well notes that the feed is up to date as of now.
func (l *Listener) well() {
	l.progress()
	if l.trouble.Swap(nil) != nil {
		l.cfg.Logger.Info("the feed is well again")
	}
}

// fail notes what keeps the feed from going on, and logs it once.
func (l *Listener) fail(err error) {
	text := err.Error()
	if old := l.trouble.Swap(&text); old == nil || *old != text {
		l.cfg.Logger.Warn("the feed cannot go on now; trying again", "error", err)
	}
}

// staleAfter is how long the last good look may be past before the feed is not
// fresh any more.
const staleAfter = 5 * time.Second

// Ready returns nil while the feed is fresh, and what is wrong otherwise.
func (l *Listener) Ready() error {
	if text := l.trouble.Load(); text != nil {
		return errors.New(*text)
	}
	if err := l.leaderless(); err != nil {
		return err
	}
	looked := l.stats.lookedAt.Load()
	if looked == 0 {
		return errors.New("the feed has not started yet")
	}
	if age := time.Since(time.Unix(0, looked)); age > staleAfter+l.cfg.FallbackInterval {
		return fmt.Errorf("the last look was %s ago", age.Round(time.Second))
	}
	return nil
}

// Bounds of the time between two tries. The first try comes at once.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = time.Second
)

func newBackoff() *pause.Backoff { return &pause.Backoff{Least: minBackoff, Most: maxBackoff} }
