package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/pause"
)

// Feed is one user's feed. Make one with New; it connects in Run.
type Feed struct {
	cfg      Config
	endpoint *url.URL
	wanted   taskfeed.Filter // of Config.Types and TaskID; the server sees to the user
	running  atomic.Bool
	outbox   outbox
	reading  reading
}

// New returns a feed, or an error that names every field of cfg that is wrong.
func New(cfg Config) (*Feed, error) {
	cfg = cfg.withDefaults()
	endpoint, err := cfg.endpoint()
	if err := errors.Join(err, cfg.validate()); err != nil {
		return nil, err
	}
	wanted := taskfeed.Filter{All: true, Types: cfg.Types, TaskID: cfg.TaskID}
	return &Feed{cfg: cfg, endpoint: endpoint, wanted: wanted, outbox: outbox{changed: make(chan struct{}, 1)}}, nil
}

// Run passes the feed's events to handle, in order and one at a time, until ctx
// is done; it then returns nil. It reconnects by itself, and returns an error
// when that cannot help (see the package comment), when the cursor store fails,
// or when handle fails; the event that handle failed on is not marked as
// handled and comes again in the next Run. A feed runs once at a time: ErrRunning.
func (f *Feed) Run(ctx context.Context, handle func(context.Context, taskfeed.Event) error) error {
	if !f.running.CompareAndSwap(false, true) {
		return ErrRunning
	}
	defer f.running.Store(false)
	defer f.outbox.fail(ErrEnded)
	r := &run{Feed: f, handle: handle, reason: TokenInitial, backoff: backoff{Backoff: f.cfg.Backoff}}
	err := r.loop(ctx)
	if errors.Is(err, errLeft) {
		err = nil
	}
	r.to(StateChange{State: StateClosed, Err: err})
	return err
}

// Events runs the feed as a sequence. An event is marked as handled when the
// loop's body has come to its end; leaving the loop in the body leaves it
// unhandled, and it comes again in the next Run.
//
// The sequence ends without an error when the body leaves the loop or ctx is
// done, whatever the feed was doing then. Any other end has an error, which comes
// last, with an empty event. StateClosed tells the same.
func (f *Feed) Events(ctx context.Context) iter.Seq2[taskfeed.Event, error] {
	return func(yield func(taskfeed.Event, error) bool) {
		err := f.Run(ctx, func(_ context.Context, e taskfeed.Event) error {
			if !yield(e, nil) {
				return errLeft
			}
			return nil
		})
		if err != nil {
			yield(taskfeed.Event{}, err)
		}
	}
}

// errLeft ends a run in order: the body has left the loop over Events.
var errLeft = errors.New("client: the loop was left")

// run is the state of one call of Run. It belongs to Run's goroutine, except credential,
// which a session's renewer writes while the session lasts.
type run struct {
	*Feed
	handle func(context.Context, taskfeed.Event) error

	cursor     taskfeed.Cursor // of the last event handled
	known      bool            // false: live events only, none seen yet
	credential credential
	reason     TokenReason // to ask for a token with; empty: credential will do
	refusals   int         // of tokens, in a row
	backoff    backoff
	state      State
}

// stableAfter is how long a connection must last to reset the backoff.
const stableAfter = 5 * time.Second

// outcome is how an attempt to connect, or a connection, ended.
type outcome struct {
	err      error
	accepted bool // the server took the token
	stable   bool
}

func (r *run) loop(ctx context.Context) error {
	if err := r.loadCursor(ctx); err != nil {
		if ctx.Err() != nil {
			return ordered(ctx, &fatal{err})
		}
		return err
	}
	for {
		out := r.connect(ctx)
		if ctx.Err() != nil {
			return ordered(ctx, out.err)
		}
		delay, err := r.judge(out)
		if err != nil {
			return err
		}
		r.cfg.Logger.WarnContext(ctx, "connection ended", "error", out.err, "retry_in", delay, "cursor", int64(r.cursor))
		r.to(StateChange{State: StateWaiting, Err: out.err, Delay: delay})
		if !pause.For(ctx, delay) {
			return nil
		}
	}
}

// ordered returns the error of a run whose context is done: none, unless
// something failed for a reason of its own.
func ordered(ctx context.Context, err error) error {
	f, ok := errors.AsType[*fatal](err)
	if !ok || errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)) {
		return nil
	}
	return f.error
}

// judge decides after a connection whether the feed goes on, and how long it waits.
func (r *run) judge(out outcome) (time.Duration, error) {
	if err := ends(out.err); err != nil {
		return 0, err
	}
	closed, _ := errors.AsType[*CloseError](out.err)
	if out.stable || out.accepted && closed != nil && closed.soon() {
		r.backoff.reset()
	}
	if out.stable || out.accepted {
		r.refusals = 0
	}
	if errors.Is(out.err, ErrRejected) {
		if r.refusals++; r.refusals > 1 {
			return 0, out.err
		}
		r.reason = TokenRejected
		if r.credential.expired(time.Now()) {
			r.reason = TokenExpired
		}
	}
	delay := r.backoff.next()
	if status, ok := errors.AsType[*StatusError](out.err); ok {
		delay += status.RetryAfter
	}
	return delay, nil
}

// connect makes one connection and serves it to its end.
func (r *run) connect(ctx context.Context) outcome {
	r.to(StateChange{State: StateConnecting})
	if err := r.refreshCredential(ctx); err != nil {
		return outcome{err: err}
	}
	conn, err := r.dial(ctx)
	if err != nil {
		return outcome{err: err}
	}
	next := StateReplaying
	if !r.known && conn.Subprotocol() == "" {
		next = StateLive // no feed_live will come
	}
	r.to(StateChange{State: next})
	s := newSession(r, conn)
	err = s.serve(ctx)
	if closed, ok := errors.AsType[*websocket.CloseError](err); ok && closed.Code != websocket.CloseAbnormalClosure {
		err = &CloseError{Code: closed.Code, Reason: r.credential.redact(closed.Text)}
	}
	return outcome{err: err, accepted: s.accepted, stable: time.Since(s.began) >= stableAfter}
}

func (r *run) refreshCredential(ctx context.Context) error {
	if r.reason == "" && r.credential.expired(time.Now()) {
		r.reason = TokenExpired
	}
	if r.reason == "" {
		return nil
	}
	c, err := r.askToken(ctx, r.reason)
	if err != nil {
		return err
	}
	r.credential, r.reason = c, ""
	return nil
}

// take handles one text frame.
func (r *run) take(ctx context.Context, text []byte) error {
	frame, known, err := readFrame(text)
	if err != nil {
		return &fatal{err}
	}
	if !known {
		return nil
	}
	switch frame.Type {
	case taskfeed.TypeFeedLive:
		return r.takeLive(ctx, frame, text)
	case taskfeed.TypeFeedReset:
		return r.takeReset(ctx, frame, text)
	case taskfeed.TypeFeedRead:
		r.cfg.OnFrame(frame, text)
		return nil
	case taskfeed.TypeFeedReadRefused:
		r.cfg.Logger.WarnContext(ctx, "read mark refused", "code", frame.Code)
		r.cfg.OnFrame(frame, text)
		return nil
	default:
		return r.takeEvent(ctx, frame, text)
	}
}

func (r *run) takeEvent(ctx context.Context, frame taskfeed.Frame, text []byte) error {
	id := frame.Event.ID
	if id <= r.cursor {
		return nil // the client rule
	}
	if !r.wanted.Match(&frame.Event) {
		return r.moveTo(ctx, id) // the server does not know the filters
	}
	r.cfg.OnFrame(frame, text)
	if err := r.handle(ctx, frame.Event); err != nil {
		return &fatal{fmt.Errorf("client: handle event %s: %w", id, err)}
	}
	return r.moveTo(ctx, id)
}

// takeLive moves the cursor up to the head: the server has sent all before it.
func (r *run) takeLive(ctx context.Context, frame taskfeed.Frame, text []byte) error {
	r.cfg.OnFrame(frame, text)
	if !r.known || frame.Cursor > r.cursor {
		if err := r.moveTo(ctx, frame.Cursor); err != nil {
			return err
		}
	}
	r.to(StateChange{State: StateLive})
	return nil
}

func (r *run) takeReset(ctx context.Context, frame taskfeed.Frame, text []byte) error {
	r.cfg.OnFrame(frame, text)
	if r.cfg.OnReset == nil {
		if err := r.moveTo(ctx, frame.Cursor); err != nil {
			return err
		}
		return &fatal{fmt.Errorf("%w: the cursor was %q", ErrReset, frame.Reason)}
	}
	if err := r.cfg.OnReset(ctx, frame.Reason, frame.Cursor); err != nil {
		return &fatal{fmt.Errorf("client: handle reset to %s: %w", frame.Cursor, err)}
	}
	if err := r.moveTo(ctx, frame.Cursor); err != nil {
		return err
	}
	r.to(StateChange{State: StateLive})
	return nil
}

func (r *run) loadCursor(ctx context.Context) error {
	cursor, known, err := r.cfg.CursorStore.Load(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("client: load cursor: %w", err)
	case known && !inRange(cursor):
		return fmt.Errorf("client: load cursor: %d is not an event's id", cursor)
	case known:
		r.cursor, r.known = cursor, true
	case r.cfg.After != nil:
		r.cursor, r.known = *r.cfg.After, true
	}
	return nil
}

func (r *run) moveTo(ctx context.Context, cursor taskfeed.Cursor) error {
	r.cursor, r.known = cursor, true
	if err := r.cfg.CursorStore.Save(context.WithoutCancel(ctx), cursor); err != nil {
		return &fatal{fmt.Errorf("client: save cursor %s: %w", cursor, err)}
	}
	return nil
}

// to reports a state unless the feed is in it already.
func (r *run) to(change StateChange) {
	if r.state != change.State {
		r.state = change.State
		r.cfg.OnState(change)
	}
}
