package client_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/client"
)

// slowStore blocks in Load until its context is done, like a store in a locked database.
type slowStore struct{ client.CursorStore }

func (slowStore) Load(ctx context.Context) (taskfeed.Cursor, bool, error) {
	<-ctx.Done()
	return 0, false, context.Cause(ctx)
}

// ending is one way to end a range over Events.
type ending struct {
	parts  []func(*peer)
	change func(*client.Config)
	body   func(stop context.CancelCauseFunc, e taskfeed.Event) (leave bool)
	after  time.Duration // stops the context then
	want   []taskfeed.Cursor
}

// check ranges over the events until the end. A context that is stopped has the cause.
func (e *ending) check(t *testing.T, cause error) {
	t.Helper()
	cfg := play(t, e.parts...).config()
	if e.change != nil {
		e.change(&cfg)
	}
	var closed []error
	cfg.OnState = func(c client.StateChange) {
		if c.State == client.StateClosed {
			closed = append(closed, c.Err)
		}
	}
	ctx, stop := context.WithCancelCause(t.Context())
	defer stop(nil)
	if e.after > 0 {
		defer time.AfterFunc(e.after, func() { stop(cause) }).Stop()
	} else if e.after < 0 {
		stop(cause)
	}
	var got []taskfeed.Cursor
	for event, err := range mustNew(t, cfg).Events(ctx) {
		if err != nil {
			t.Fatalf("got the error %v, want the end without one", err)
		}
		got = append(got, event.ID)
		if e.body != nil && e.body(stop, event) {
			break
		}
	}
	if !slices.Equal(got, e.want) {
		t.Errorf("events %v, want %v", got, e.want)
	}
	if len(closed) != 1 || closed[0] != nil {
		t.Errorf("closed with %v, want once, with no error", closed)
	}
}

// TestEventsEndInOrder: leaving the loop and the end of the context are no errors. Once,
// leaving the loop was reported as an error in StateClosed, and a context that ended
// while the cursor was loaded as the error of an event.
func TestEventsEndInOrder(t *testing.T) {
	t.Parallel()
	cause := errors.New("the program ends")
	for name, tc := range map[string]ending{
		"a break": {
			parts: []func(*peer){sends(event(1), event(2))},
			body:  func(_ context.CancelCauseFunc, e taskfeed.Event) bool { return e.ID == 2 },
			want:  []taskfeed.Cursor{1, 2},
		},
		"a break at the first event": {
			parts: []func(*peer){sends(event(1), event(2))},
			body:  func(context.CancelCauseFunc, taskfeed.Event) bool { return true },
			want:  []taskfeed.Cursor{1},
		},
		"the body stops the context": {
			parts: []func(*peer){sends(event(1), event(2), event(3))},
			body: func(stop context.CancelCauseFunc, e taskfeed.Event) bool {
				if e.ID == 1 {
					stop(cause)
				}
				return false
			},
			want: []taskfeed.Cursor{1},
		},
		"the body stops the context and leaves": {
			parts: []func(*peer){sends(event(1), event(2))},
			body:  func(stop context.CancelCauseFunc, _ taskfeed.Event) bool { stop(nil); return true },
			want:  []taskfeed.Cursor{1},
		},
		"while it is live":             {parts: []func(*peer){sends(event(1), live(1))}, after: time.Second, want: []taskfeed.Cursor{1}},
		"before it begins":             {after: -1},
		"between two attempts":         {parts: []func(*peer){answers(502), answers(502), answers(502)}, after: 100 * time.Millisecond},
		"while the server is away":     {parts: []func(*peer){closes(1012, event(1))}, after: time.Millisecond, want: []taskfeed.Cursor{1}},
		"while the cursor is loaded":   {after: time.Second, change: func(c *client.Config) { c.CursorStore = slowStore{} }},
		"while the token is asked for": {after: time.Second, change: func(c *client.Config) { c.Token = slowToken }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { tc.check(t, cause) })
		})
	}
}

func slowToken(ctx context.Context, _ client.TokenReason) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}

// A deadline is an ordered end too, also when the body notices it first.
func TestEventsEndAtADeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		f := mustNew(t, play(t, sends(event(1), live(1))).config())
		for e, err := range f.Events(ctx) {
			if err != nil {
				t.Fatalf("after event %d: got %v, want the end without an error", e.ID, err)
			}
			<-ctx.Done()
		}
		if ctx.Err() == nil {
			t.Error("the feed ended before its deadline")
		}
	})
}

// Every other end has an error, and the loop ends after it.
func TestEventsEndWithTheirError(t *testing.T) {
	t.Parallel()
	failed := errors.New("the store is full")
	for name, tc := range map[string]struct {
		part   func(*peer)
		change func(*client.Config)
		want   error
	}{
		"another user's token":      {closes(4003, event(1)), nil, client.ErrForbidden},
		"an operator":               {closes(4011, event(1)), nil, client.ErrDisconnected},
		"a wrong request":           {answers(400), nil, client.ErrRefused},
		"a reset that nobody takes": {sends(reset("expired", 9)), nil, client.ErrReset},
		"a reset that fails": {sends(reset("expired", 9)), func(c *client.Config) {
			c.OnReset = func(context.Context, taskfeed.ResetReason, taskfeed.Cursor) error { return failed }
		}, failed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cfg := play(t, tc.part).config()
				if tc.change != nil {
					tc.change(&cfg)
				}
				var last, closed error
				count := 0
				cfg.OnState = func(c client.StateChange) { closed = c.Err }
				for _, err := range mustNew(t, cfg).Events(t.Context()) {
					if last = err; err != nil {
						count++
					}
				}
				if count != 1 || !errors.Is(last, tc.want) || !errors.Is(closed, tc.want) {
					t.Errorf("%d errors, the last %v, closed with %v; want %v once", count, last, closed, tc.want)
				}
			})
		})
	}
}
