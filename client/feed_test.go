package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/client"
	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestRunResumes(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]func(*peer){
		"after a cut in the middle of a frame": func(p *peer) { p.upgrade().send(event(1), event(2)).cut() },
		"after a lost connection":              func(p *peer) { p.upgrade().send(event(1), event(2)) },
		"after a server's restart":             closes(1012, event(1), event(2)),
		"after being too slow":                 closes(4008, event(1), event(2)),
		"after a missed pong":                  closes(4009, event(1), event(2)),
		"after too many messages":              closes(4029, event(1), event(2)),
		"after an ordinary close":              closes(1000, event(1), event(2)),
		"after a server's fault":               closes(1011, event(1), event(2)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := play(t, first, sends(event(2), event(3), live(3), event(3), event(4)))
				got := until(t, s.config(), 4)
				if want := []taskfeed.Cursor{1, 2, 3, 4}; !slices.Equal(got, want) {
					t.Errorf("events: got %v, want %v", got, want)
				}
				if got, want := s.afters(), []string{"-", "2"}; !slices.Equal(got, want) {
					t.Errorf("cursors sent: got %v, want %v", got, want)
				}
			})
		})
	}
}

func TestRunLiveOnlyKeepsItsPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// No event came before the cut, yet those of the gap must not be lost.
		s := play(t, closes(1012, live(40)), sends(event(41)))
		until(t, s.config(), 41)
		if got, want := s.afters(), []string{"-", "40"}; !slices.Equal(got, want) {
			t.Errorf("cursors sent: got %v, want %v", got, want)
		}
	})
}

func TestRunAfterZeroReplaysAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := play(t, sends(event(1)))
		cfg := s.config()
		cfg.After = new(taskfeed.Cursor)
		until(t, cfg, 1)
		if got, want := s.afters(), []string{"0"}; !slices.Equal(got, want) {
			t.Errorf("cursors sent: got %v, want %v", got, want)
		}
	})
}

func TestRunReset(t *testing.T) {
	t.Parallel()
	for _, reason := range []taskfeed.ResetReason{taskfeed.ResetExpired, taskfeed.ResetAhead} {
		t.Run("goes on after "+string(reason), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := play(t, sends(reset(reason, 100), event(90), event(101)))
				cfg := s.config()
				cfg.After = new(taskfeed.Cursor(5000))
				if reason == taskfeed.ResetExpired {
					cfg.After = new(taskfeed.Cursor(5))
				}
				var told []string
				cfg.OnReset = func(_ context.Context, r taskfeed.ResetReason, c taskfeed.Cursor) error {
					told = append(told, fmt.Sprint(r, c))
					return nil
				}
				got := until(t, cfg, 101)
				if want := []taskfeed.Cursor{101}; !slices.Equal(got, want) {
					t.Errorf("events: got %v, want %v", got, want)
				}
				if want := []string{fmt.Sprint(reason, 100)}; !slices.Equal(told, want) {
					t.Errorf("resets: got %v, want %v", told, want)
				}
			})
		})
	}
	t.Run("ends the run when nobody listens", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := play(t, sends(reset(taskfeed.ResetExpired, 100)))
			store := &store{cursor: 5, known: true}
			cfg := s.config()
			cfg.CursorStore = store
			if err := runErr(t, cfg); !errors.Is(err, client.ErrReset) {
				t.Errorf("Run: got %v, want ErrReset", err)
			}
			if want := taskfeed.Cursor(100); store.cursor != want {
				t.Errorf("cursor: got %s, want %s, for the next run to begin at", store.cursor, want)
			}
		})
	})
	t.Run("that fails is asked for again", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := play(t, sends(reset(taskfeed.ResetExpired, 100)))
			store := &store{cursor: 5, known: true}
			cfg := s.config()
			cfg.CursorStore = store
			cfg.OnReset = func(context.Context, taskfeed.ResetReason, taskfeed.Cursor) error { return errTest }
			if err := runErr(t, cfg); !errors.Is(err, errTest) {
				t.Errorf("Run: got %v, want %v", err, errTest)
			}
			if want := taskfeed.Cursor(5); store.cursor != want {
				t.Errorf("cursor: got %s, want %s", store.cursor, want)
			}
		})
	})
}

func TestRunEndsForGood(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		part func(*peer)
		want error
		text string
	}{
		"close 4003":           {closes(4003), client.ErrForbidden, "4003"},
		"close 4011":           {closes(4011), client.ErrDisconnected, "4011"},
		"close 4500":           {closes(4500), client.ErrRefused, "4500"},
		"status 400":           {answers(400), client.ErrRefused, "400 Bad Request"},
		"status 403":           {answers(403), client.ErrForbidden, "403 Forbidden"},
		"status 404":           {answers(404), client.ErrRefused, "404 Not Found"},
		"id beyond MaxID":      {sends(`{"id":9007199254740992,"type":"a","timestamp":"2026-11-22T10:00:00Z"}`), client.ErrProtocol, "9007199254740991"},
		"id beyond int64":      {sends(`{"id":9223372036854775808,"type":"a","timestamp":"2026-11-22T10:00:00Z"}`), client.ErrProtocol, "field id"},
		"cursor beyond MaxID":  {sends(live(taskfeed.MaxID + 1)), client.ErrProtocol, "feed_live"},
		"reset to below zero":  {sends(reset(taskfeed.ResetAhead, -1)), client.ErrProtocol, "feed_reset"},
		"text that is no JSON": {sends(`hello`), client.ErrProtocol, "parse frame"},
		"binary": {func(p *peer) {
			_ = p.upgrade().conn.WriteMessage(websocket.BinaryMessage, []byte(event(1)))
			p.hold()
		}, client.ErrProtocol, "binary"},
		"endless frame": {sends(`"` + strings.Repeat("x", 5<<20)), client.ErrProtocol, "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				err := runErr(t, play(t, c.part).config())
				if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.text) {
					t.Errorf("Run: got %v, want %v that mentions %q", err, c.want, c.text)
				}
			})
		})
	}
}

func TestRunPassesOverWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := play(t, sends(`pong`, `{"type":"auth_ok"}`, `{"type":"feed_later","id":"x","cursor":1}`, `{"news":1}`,
			`{"id":1,"type":"app_type","timestamp":"2026-11-22T10:00:00Z","later":[1]}`))
		if got, want := until(t, s.config(), 1), []taskfeed.Cursor{1}; !slices.Equal(got, want) {
			t.Errorf("events: got %v, want %v", got, want)
		}
	})
}

func TestRunHandlerError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := play(t, sends(event(1), event(2), event(3)))
		store := new(store)
		cfg := s.config()
		cfg.CursorStore = store
		var ids []taskfeed.Cursor
		err := mustNew(t, cfg).Run(t.Context(), func(_ context.Context, e taskfeed.Event) error {
			if ids = append(ids, e.ID); e.ID == 2 {
				return errTest
			}
			return nil
		})
		if !errors.Is(err, errTest) {
			t.Errorf("Run: got %v, want %v", err, errTest)
		}
		if want := []taskfeed.Cursor{1, 2}; !slices.Equal(ids, want) {
			t.Errorf("events: got %v, want %v", ids, want)
		}
		if want := taskfeed.Cursor(1); store.cursor != want {
			t.Errorf("cursor: got %s, want %s, so that event 2 comes again", store.cursor, want)
		}
	})
}

func TestRunHandlerPanic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := play(t, sends(event(1)), sends(event(1)))
		f := mustNew(t, s.config())
		func() {
			defer func() { _ = recover() }()
			_ = f.Run(t.Context(), func(context.Context, taskfeed.Event) error { panic("oh") })
		}()
		synctest.Wait()
		err := f.Run(t.Context(), func(context.Context, taskfeed.Event) error { return errTest })
		if !errors.Is(err, errTest) {
			t.Errorf("Run after a panic: got %v, want %v", err, errTest)
		}
	})
}

func TestRunStopsWithoutError(t *testing.T) {
	t.Parallel()
	for name, part := range map[string]func(*peer){
		"in the handshake":        func(p *peer) { <-p.r.Context().Done() },
		"while live":              sends(live(1)),
		"in the middle of events": sends(event(1), event(2), event(3)),
		"while waiting":           answers(503, "Retry-After", "60"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancelCause(t.Context())
				f := mustNew(t, play(t, part).config())
				ended := make(chan error)
				go func() {
					ended <- f.Run(ctx, func(ctx context.Context, _ taskfeed.Event) error {
						<-ctx.Done()
						return fmt.Errorf("handler: %w", ctx.Err())
					})
				}()
				synctest.Wait()
				began := time.Now()
				stop(errTest)
				if err := <-ended; err != nil {
					t.Errorf("Run: got %v, want nil", err)
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("Run ended after %s, want at once", took)
				}
			})
		})
	}
}

func TestRunHandsOutNothingAfterTheStop(t *testing.T) {
	t.Parallel()
	for range 8 { // what is ready at once is chosen from by chance
		synctest.Test(t, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			var ids []taskfeed.Cursor
			f := mustNew(t, play(t, sends(event(1), event(2), event(3))).config())
			err := f.Run(ctx, func(_ context.Context, e taskfeed.Event) error {
				ids = append(ids, e.ID)
				time.Sleep(time.Second) // until the others are read
				stop()
				return nil
			})
			if want := []taskfeed.Cursor{1}; err != nil || !slices.Equal(ids, want) {
				t.Errorf("Run: got %v and the events %v, want nil and %v", err, ids, want)
			}
		})
	}
}

func TestRunOnceAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := mustNew(t, play(t, sends(event(1))).config())
		var second error
		_ = f.Run(t.Context(), func(context.Context, taskfeed.Event) error {
			second = f.Run(t.Context(), nil)
			return errTest
		})
		if !errors.Is(second, client.ErrRunning) {
			t.Errorf("second Run: got %v, want ErrRunning", second)
		}
	})
}

func TestEvents(t *testing.T) {
	t.Parallel()
	t.Run("an event whose body left the loop comes again", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := play(t, sends(event(1), event(2), event(3)), sends(event(2), event(3)))
			f := mustNew(t, s.config())
			var ids []taskfeed.Cursor
			for e, err := range f.Events(t.Context()) {
				if err != nil {
					t.Fatalf("event: got %v, want no error", err)
				}
				if ids = append(ids, e.ID); e.ID == 2 {
					break
				}
			}
			for e := range f.Events(t.Context()) {
				if ids = append(ids, e.ID); e.ID == 3 {
					break
				}
			}
			if want := []taskfeed.Cursor{1, 2, 2, 3}; !slices.Equal(ids, want) {
				t.Errorf("events: got %v, want %v", ids, want)
			}
			if got, want := s.afters(), []string{"-", "1"}; !slices.Equal(got, want) {
				t.Errorf("cursors sent: got %v, want %v", got, want)
			}
		})
	})
	t.Run("the error comes last", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var got []error
			for _, err := range mustNew(t, play(t, closes(4003, event(1))).config()).Events(t.Context()) {
				got = append(got, err)
			}
			if len(got) != 2 || got[0] != nil || !errors.Is(got[1], client.ErrForbidden) {
				t.Errorf("errors: got %v, want nil and then ErrForbidden", got)
			}
		})
	})
}

func TestStates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := play(t, closes(1012, event(1), live(1)), answers(502), closes(4011, live(1)))
		cfg := s.config()
		var got []string
		cfg.OnState = func(c client.StateChange) {
			got = append(got, fmt.Sprint(c.State, " ", c.Delay, " ", c.Err != nil))
		}
		runErr(t, cfg)
		want := []string{
			"connecting 0s false", "replaying 0s false", "live 0s false", "waiting 500ms true",
			"connecting 0s false", "waiting 1s true",
			"connecting 0s false", "replaying 0s false", "live 0s false", "closed 0s true",
		}
		if !slices.Equal(got, want) {
			t.Errorf("states: got\n%v, want\n%v", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// A server without our subprotocol sends no feed_live that was not asked for.
func TestStatesOfAPlainConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		plain := func(p *peer) {
			p.r.Header.Del("Sec-WebSocket-Protocol")
			sends(event(1))(p)
		}
		cfg := play(t, plain).config()
		var got []client.State
		cfg.OnState = func(c client.StateChange) { got = append(got, c.State) }
		until(t, cfg, 1)
		if want := []client.State{client.StateConnecting, client.StateLive, client.StateClosed}; !slices.Equal(got, want) {
			t.Errorf("states: got %v, want %v", got, want)
		}
	})
}

func TestOnFrame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		odd := `{"id":2, "type":"app", "timestamp":"2026-11-22T10:00:00Z", "html":"<b>"}`
		s := play(t, sends(event(1), event(1), live(1), odd))
		cfg := s.config()
		var got []string
		cfg.OnFrame = func(_ taskfeed.Frame, raw []byte) { got = append(got, string(raw)) }
		until(t, cfg, 2)
		if want := []string{event(1), live(1), odd}; !slices.Equal(got, want) {
			t.Errorf("frames: got %q, want %q", got, want)
		}
	})
}
