package client_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/client"
)

// gaps returns the time between the requests that the script has seen.
func (s *script) gaps() []time.Duration {
	var list []time.Duration
	calls := s.seen()
	for i := 1; i < len(calls); i++ {
		list = append(list, calls[i].at.Sub(calls[i-1].at))
	}
	return list
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		parts []func(*peer)
		want  []time.Duration
	}{
		"grows to its bound, drawn from the whole range": {
			slices.Repeat([]func(*peer){answers(502)}, 9),
			[]time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second,
				8 * time.Second, 15 * time.Second, 15 * time.Second, 15 * time.Second},
		},
		"starts anew after a stable connection": {
			[]func(*peer){answers(502), answers(502), func(p *peer) {
				p.upgrade()
				time.Sleep(5 * time.Second) // in the bubble
			}},
			[]time.Duration{250 * time.Millisecond, 500 * time.Millisecond, 5*time.Second + 250*time.Millisecond},
		},
		"goes on after a short one": {
			[]func(*peer){answers(502), answers(502), closes(1011, live(1))},
			[]time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second},
		},
		"is short after 1012 and 4008": {
			[]func(*peer){answers(502), answers(502), closes(1012, live(1)), answers(502), closes(4008, live(1))},
			[]time.Duration{250 * time.Millisecond, 500 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, 250 * time.Millisecond},
		},
		"grows after a 1012 that comes before anything else": {
			[]func(*peer){closes(1012), closes(1012), closes(1012)},
			[]time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second},
		},
		"comes on top of Retry-After": {
			[]func(*peer){answers(429, "Retry-After", "7"), answers(503, "Retry-After", "99999999"),
				answers(503, "Retry-After", "Sat, 01 Jan 2000 00:11:00 GMT"), answers(503, "Retry-After", "-4")},
			[]time.Duration{7*time.Second + 250*time.Millisecond, 10*time.Minute + 500*time.Millisecond,
				// The bubble's clock begins with the year 2000.
				52*time.Second + 250*time.Millisecond + time.Second, 2 * time.Second},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := play(t, append(c.parts, sends(event(9)))...)
				cfg := s.config()
				cfg.Backoff.Rand = func() float64 { return 0.5 }
				until(t, cfg, 9)
				if got := s.gaps(); !slices.Equal(got, c.want) {
					t.Errorf("waits: got %v, want %v", got, c.want)
				}
			})
		})
	}
}

func TestDialFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := play(t, sends(event(1)))
		cfg := s.config()
		refusals := 0
		cfg.NetDial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if want := "taskfeed.test:80"; addr != want {
				t.Errorf("address: got %s, want %s", addr, want)
			}
			if refusals++; refusals < 3 {
				return nil, errTest
			}
			return s.dial(ctx, network, addr)
		}
		var why error
		cfg.OnState = func(c client.StateChange) {
			if c.State == client.StateWaiting {
				why = c.Err
			}
		}
		until(t, cfg, 1)
		if !errors.Is(why, errTest) {
			t.Errorf("why it waited: got %v, want %v", why, errTest)
		}
	})
}

func TestHandshakeThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := play(t, func(p *peer) { <-p.r.Context().Done() }, sends(event(1)))
		until(t, s.config(), 1)
		if got, want := s.gaps(), 15*time.Second+500*time.Millisecond; got[0] != want {
			t.Errorf("second attempt: got it after %s, want %s", got[0], want)
		}
	})
}

// A half-open connection: the server has disappeared without closing it.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var pinged time.Duration
		s := play(t, func(p *peer) {
			began := time.Now()
			p.upgrade()
			p.conn.SetPingHandler(func(string) error { pinged = time.Since(began); return nil })
			p.hold()
		}, sends(event(1)))
		until(t, s.config(), 1)
		if want := 26250 * time.Millisecond; pinged != want {
			t.Errorf("ping: got it after %s, want %s", pinged, want)
		}
		if got, want := s.gaps()[0], 35*time.Second+500*time.Millisecond; got != want {
			t.Errorf("second attempt: got it after %s, want %s", got, want)
		}
	})
}

func TestPings(t *testing.T) {
	t.Parallel()
	t.Run("of the server keep a quiet connection", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			pongs, pings := 0, 0
			s := play(t, func(p *peer) {
				p.upgrade()
				p.conn.SetPongHandler(func(string) error { pongs++; return nil })
				p.conn.SetPingHandler(func(string) error { pings++; return nil })
				gone := p.listen()
				for range 10 {
					time.Sleep(25 * time.Second)
					_ = p.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second))
				}
				p.send(event(1))
				<-gone
			})
			until(t, s.config(), 1)
			if pongs != 10 || pings != 0 {
				t.Errorf("got %d pongs and %d pings, want 10 and 0", pongs, pings)
			}
		})
	})
	t.Run("of the client keep one whose server sends none", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := play(t, func(p *peer) {
				p.upgrade()
				gone := p.listen() // answers pings
				time.Sleep(5 * time.Minute)
				p.send(event(1))
				<-gone
			})
			until(t, s.config(), 1)
		})
	})
	t.Run("are answered while the handler is busy", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			pongs := 0
			s := play(t, func(p *peer) {
				p.upgrade()
				p.conn.SetPongHandler(func(string) error { pongs++; return nil })
				p.send(event(1), event(2))
				gone := p.listen()
				for range 4 {
					time.Sleep(25 * time.Second)
					_ = p.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second))
				}
				<-gone
			})
			f := mustNew(t, s.config())
			err := f.Run(t.Context(), func(_ context.Context, e taskfeed.Event) error {
				if e.ID == 2 {
					return errTest
				}
				time.Sleep(110 * time.Second)
				return nil
			})
			if !errors.Is(err, errTest) || pongs != 4 {
				t.Errorf("got %v after %d pongs, want %v after 4", err, pongs, errTest)
			}
		})
	})
}

func TestRequest(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*client.Config)
		want   string
	}{
		"plain":           {func(*client.Config) {}, "/ws/alice"},
		"path prefix":     {func(c *client.Config) { c.URL = "http://taskfeed.test/a%2Fb/feed/" }, "/a%2Fb/feed/ws/alice"},
		"odd user":        {func(c *client.Config) { c.UserID = "a/b c?é" }, "/ws/a%2Fb%20c%3F%C3%A9"},
		"with a cursor":   {func(c *client.Config) { c.After = new(taskfeed.Cursor(taskfeed.MaxID)) }, "/ws/alice?after=9007199254740991"},
		"with filters":    {func(c *client.Config) { c.Types, c.TaskID = []taskfeed.Type{"a", "b"}, "t&1" }, "/ws/alice?task_id=t%261&types=a%2Cb"},
		"with a name":     {func(c *client.Config) { c.Client, c.Compact = "web", true }, "/ws/alice?client=web&compact=true"},
		"less progress":   {func(c *client.Config) { c.ProgressInterval = 1500 * time.Millisecond }, "/ws/alice?progress_interval=1.5s"},
		"websocket's URL": {func(c *client.Config) { c.URL = "ws://taskfeed.test" }, "/ws/alice"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var header http.Header
				s := play(t, func(p *peer) { header = p.r.Header; answers(403)(p) })
				cfg := s.config()
				c.change(&cfg)
				runErr(t, cfg)
				if got := s.seen()[0].url; got != c.want {
					t.Errorf("URL: got %s, want %s", got, c.want)
				}
				if got, want := header.Get("Authorization"), "Bearer secret-token"; got != want {
					t.Errorf("Authorization: got %q, want %q", got, want)
				}
				if got, want := header.Get("Sec-WebSocket-Protocol"), "taskfeed.v1"; got != want {
					t.Errorf("Sec-WebSocket-Protocol: got %q, want %q", got, want)
				}
			})
		})
	}
}
