package forward

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/store"
)

// Log is what is read; *store.Store provides it.
type Log interface {
	// After returns events that match after the cursor; see store.Store.After. It returns
	// CodeGone when the log no longer keeps what follows the cursor.
	After(ctx context.Context, f taskfeed.Filter, after taskfeed.Cursor, limit int) (events []taskfeed.Event, through taskfeed.Cursor, more bool, err error)
	// LastID returns the id of the last committed event.
	LastID(ctx context.Context) (taskfeed.Cursor, error)
	// Marks returns how far those of the users have read who have read anything.
	Marks(ctx context.Context, users []string) ([]taskfeed.Mark, error)
}

// Ledger keeps the state of forwards; *store.Store provides it, and describes its methods.
type Ledger interface {
	TakeForward(ctx context.Context, name, holder string, start taskfeed.Cursor, lease time.Duration) (cursor taskfeed.Cursor, taken bool, err error)
	MoveForward(ctx context.Context, name, holder string, cursor taskfeed.Cursor, lost int64, lease time.Duration) (held bool, err error)
	ReleaseForward(ctx context.Context, name, holder string) error
	AddForwardFailure(ctx context.Context, name, holder string, f store.ForwardFailure) (held bool, err error)
}

// Forwarder sends the log to one endpoint.
type Forwarder struct {
	cfg    Config
	log    Log
	ledger Ledger
	post   *poster
	holder string
	counts counts
}

// New returns a forwarder. Run runs it once.
func New(log Log, ledger Ledger, cfg Config) (*Forwarder, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	p, err := newPoster(cfg)
	if err != nil {
		return nil, err
	}
	return &Forwarder{cfg: cfg, log: log, ledger: ledger, post: p, holder: rand.Text()}, nil
}

// Reasons for which a process stops to forward before it is told to.
var (
	errTaken  = errors.New("another process has taken the forward over")
	errLapsed = errors.New("the database has not answered for so long that another process may have taken the forward over")
	// ErrGone is what Run returns when the endpoint answers 410: it wants no more events.
	// Its cursor stays where it is.
	ErrGone = errors.New("the endpoint answered 410: it wants no more events")
)

// Run forwards until ctx is done, or waits while another process does. It returns nil
// after an ordered stop: requests under way have ended and the cursor is kept. The only
// error is ErrGone.
func (f *Forwarder) Run(ctx context.Context) error {
	defer f.post.close()
	for ctx.Err() == nil {
		cursor, until, ok := f.take(ctx)
		if !ok {
			return nil
		}
		f.cfg.Logger.Info("forwarding", "name", f.cfg.Name, "host", f.post.url.Host, "cursor", int64(cursor))
		err := f.hold(ctx, cursor, until)
		f.counts.log(f.cfg.Logger, f.cfg.Name)
		if errors.Is(err, ErrGone) {
			return err
		}
		if err != nil {
			f.cfg.Logger.Warn("stopped to forward", "name", f.cfg.Name, "error", err)
		}
	}
	return nil
}

// take waits until this process holds the forward. until is when it must stop unless the
// lease was renewed. It returns false when ctx is done.
func (f *Forwarder) take(ctx context.Context) (cursor taskfeed.Cursor, until time.Time, ok bool) {
	told := false
	for {
		asked := time.Now()
		cursor, taken, err := f.tryTake(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			f.cfg.Logger.Warn("cannot take the forward", "name", f.cfg.Name, "error", err)
		case taken:
			return cursor, f.deadline(asked), true
		case !told && err == nil:
			told = true
			f.cfg.Logger.Info("another process forwards under this name: waiting until it ends", "name", f.cfg.Name)
		}
		if !pause.For(ctx, f.cfg.Lease/3) {
			return 0, time.Time{}, false
		}
	}
}

func (f *Forwarder) tryTake(ctx context.Context) (cursor taskfeed.Cursor, taken bool, err error) {
	var start taskfeed.Cursor
	if f.cfg.After != nil {
		start = *f.cfg.After
	} else if start, err = f.log.LastID(ctx); err != nil {
		return 0, false, err
	}
	return f.ledger.TakeForward(ctx, f.cfg.Name, f.holder, start, f.cfg.Lease)
}

// deadline is when a lease that was asked for at a time is no longer relied on: a little
// before the database lets another process have it.
func (f *Forwarder) deadline(asked time.Time) time.Time { return asked.Add(f.cfg.Lease * 4 / 5) }

// place is how far a forward has come.
type place struct {
	cursor atomic.Int64 // every event up to it was delivered or is kept as a failure
	lost   atomic.Int64 // ids that retention has dropped and that are not counted in the database yet
	until  atomic.Int64 // end of the lease, in nanoseconds of Unix time; nothing is sent after it
}

// hold forwards while this process holds the forward.
func (f *Forwarder) hold(ctx context.Context, cursor taskfeed.Cursor, until time.Time) error {
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	work, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	defer context.AfterFunc(running, func() { time.AfterFunc(f.cfg.Drain, abort) })()
	keeping, kept := context.WithCancel(context.WithoutCancel(ctx))
	defer kept()
	at := &place{}
	at.cursor.Store(int64(cursor))
	at.until.Store(until.UnixNano())
	pages := make(chan page)
	var wg sync.WaitGroup
	wg.Go(func() { f.read(running, cursor, pages) })
	wg.Go(func() {
		if err := f.keep(keeping, at, until); err != nil {
			stop(err)
			abort() // nothing more may be sent
		}
	})
	wg.Go(func() { f.report(running) })
	err := f.dispatch(running, work, abort, at, pages)
	stop(err)
	kept()
	wg.Wait()
	if err == nil && ctx.Err() == nil {
		err = context.Cause(running)
	}
	if cause := context.Cause(running); !errors.Is(cause, errTaken) {
		f.release(at)
	}
	return err
}

// keep renews the lease and keeps the cursor, at most once a second, until ctx is done.
func (f *Forwarder) keep(ctx context.Context, at *place, until time.Time) error {
	saved, renewed := at.cursor.Load(), time.Now()
	for pause.For(ctx, min(time.Second, f.cfg.Lease/6)) {
		now := time.Now()
		if at.cursor.Load() == saved && at.lost.Load() == 0 && now.Sub(renewed) < f.cfg.Lease/3 {
			continue
		}
		bounded, cancel := context.WithDeadline(ctx, until)
		cursor, held, err := f.save(bounded, at)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && time.Now().After(until):
			return fmt.Errorf("%w: %w", errLapsed, err)
		case err != nil:
			f.cfg.Logger.Warn("cannot keep the cursor", "name", f.cfg.Name, "error", err)
		case !held:
			return errTaken
		default:
			saved, renewed, until = cursor, now, f.deadline(now)
			at.until.Store(until.UnixNano())
		}
	}
	return nil
}

// save keeps the cursor and returns it.
func (f *Forwarder) save(ctx context.Context, at *place) (cursor int64, held bool, err error) {
	cursor, lost := at.cursor.Load(), at.lost.Load()
	held, err = f.ledger.MoveForward(ctx, f.cfg.Name, f.holder, taskfeed.Cursor(cursor), lost, f.cfg.Lease)
	if err == nil {
		at.lost.Add(-lost)
	}
	return cursor, held, err
}

// releaseTime bounds what is done after the end.
const releaseTime = 5 * time.Second

// release keeps the cursor and lets the next process begin.
func (f *Forwarder) release(at *place) {
	ctx, cancel := context.WithTimeout(context.Background(), releaseTime)
	defer cancel()
	_, _, err := f.save(ctx, at)
	if err = errors.Join(err, f.ledger.ReleaseForward(ctx, f.cfg.Name, f.holder)); err != nil {
		f.cfg.Logger.Warn("cannot keep the cursor at the end: some events will be sent again", "name", f.cfg.Name, "error", err)
	}
}

// counts are of this process.
type counts struct {
	delivered, retries, failures, lost, read atomic.Int64
	waiting                                  atomic.Int64 // events that were read and not delivered yet
}

// reportInterval is the time between two lines with counts.
const reportInterval = time.Minute

func (f *Forwarder) report(ctx context.Context) {
	last := int64(0)
	for pause.For(ctx, reportInterval) {
		c := &f.counts
		if sum := c.delivered.Load() + c.retries.Load() + c.failures.Load() + c.lost.Load() + c.read.Load(); sum != last {
			last = sum
			c.log(f.cfg.Logger, f.cfg.Name)
		}
	}
}

func (c *counts) log(logger *slog.Logger, name string) {
	logger.Info("forwarded", "name", name, "delivered", c.delivered.Load(), "retries", c.retries.Load(), "failures", c.failures.Load(),
		"left_out_as_read", c.read.Load(), "lost", c.lost.Load(), "waiting", c.waiting.Load())
}
