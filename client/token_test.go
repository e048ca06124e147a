package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/client"
)

// numbered returns tokens token-1, token-2 … and records the reason for each.
func numbered(reasons *[]string) client.TokenFunc {
	return func(_ context.Context, reason client.TokenReason) (string, error) {
		*reasons = append(*reasons, string(reason))
		return fmt.Sprintf("token-%d", len(*reasons)), nil
	}
}

func (s *script) bearers() []string {
	var list []string
	for _, c := range s.seen() {
		list = append(list, strings.TrimPrefix(c.bearer, "Bearer "))
	}
	return list
}

func TestTokenRefused(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(*peer){
		"by close 4001": closes(4001),
		"by status 401": answers(401),
	} {
		t.Run("once "+name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var reasons []string
				s := play(t, refuse, answers(502), closes(1012, live(1)), refuse, sends(event(2)))
				cfg := s.config()
				cfg.Token = numbered(&reasons)
				until(t, cfg, 2)
				if want := []string{"initial", "rejected", "rejected"}; !slices.Equal(reasons, want) {
					t.Errorf("reasons: got %v, want %v", reasons, want)
				}
				if got, want := s.bearers(), []string{"token-1", "token-2", "token-2", "token-2", "token-3"}; !slices.Equal(got, want) {
					t.Errorf("tokens: got %v, want %v", got, want)
				}
			})
		})
		t.Run("twice "+name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var reasons []string
				s := play(t, refuse, answers(502), refuse)
				cfg := s.config()
				cfg.Token = numbered(&reasons)
				if err := runErr(t, cfg); !errors.Is(err, client.ErrRejected) {
					t.Errorf("Run: got %v, want ErrRejected", err)
				}
				if want := []string{"initial", "rejected"}; !slices.Equal(reasons, want) {
					t.Errorf("reasons: got %v, want %v", reasons, want)
				}
			})
		})
	}
}

func TestTokenExpiredWhileConnected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// The app has no new token to renew with; the server ends the connection.
		expires := time.Now().Add(10 * time.Minute)
		tokens := []string{jwt("a", expires), jwt("b", expires.Add(time.Hour))}
		var reasons []client.TokenReason
		s := play(t, func(p *peer) {
			p.upgrade().send(live(1))
			gone := p.listen()
			time.Sleep(10 * time.Minute)
			p.sendClose(4001, "expired")
			if texts := <-gone; len(texts) > 0 {
				t.Errorf("renewals: got %q, want none with the token that the server has", texts)
			}
		}, sends(event(2)))
		cfg := s.config()
		cfg.Token = func(_ context.Context, reason client.TokenReason) (string, error) {
			reasons = append(reasons, reason)
			if time.Now().Before(expires) {
				return tokens[0], nil
			}
			return tokens[1], nil
		}
		until(t, cfg, 2)
		if got := s.bearers(); !slices.Equal(got, tokens) {
			t.Errorf("tokens: got %v, want %v", got, tokens)
		}
		if got, want := reasons[len(reasons)-1], client.TokenExpired; got != want {
			t.Errorf("last reason: got %s, want %s", got, want)
		}
	})
}

func TestTokenExpiredBetweenConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var reasons []string
		s := play(t, closes(1012, live(1)), answers(503, "Retry-After", "120"), sends(event(2)))
		cfg := s.config()
		cfg.Token = func(_ context.Context, reason client.TokenReason) (string, error) {
			reasons = append(reasons, string(reason))
			return jwt("a", time.Now().Add(time.Minute)), nil
		}
		until(t, cfg, 2)
		if want := []string{"initial", "expired"}; !slices.Equal(reasons, want) {
			t.Errorf("reasons: got %v, want %v", reasons, want)
		}
	})
}

// The clock of this machine is wrong: the token is used anyway.
func TestTokenExpiredByOurClockAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var reasons []string
		s := play(t, closes(1012, live(1)), sends(event(2)))
		cfg := s.config()
		cfg.Token = func(_ context.Context, reason client.TokenReason) (string, error) {
			reasons = append(reasons, string(reason))
			return jwt("a", time.Now().Add(-time.Minute)), nil
		}
		until(t, cfg, 2)
		if want := []string{"initial"}; !slices.Equal(reasons, want) {
			t.Errorf("reasons: got %v, want %v", reasons, want)
		}
	})
}

func TestTokenRenewal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var sent []string
		s := play(t, func(p *peer) {
			p.upgrade().send(live(1))
			for len(sent) < 2 {
				var m struct{ Type, Token string }
				if err := p.conn.ReadJSON(&m); err != nil || m.Type != "auth" {
					t.Errorf("renewal: got %v, %v, want an auth message", m, err)
					return
				}
				sent = append(sent, fmt.Sprint(time.Since(began), " ", m.Token))
			}
			p.close(1012, "")
		}, sends(event(2)))
		cfg := s.config()
		cfg.Token = func(_ context.Context, reason client.TokenReason) (string, error) {
			if now := time.Since(began); now == 9*time.Minute {
				return "", errTest // the next try is due after half of what is left
			}
			return jwt(string(reason), time.Now().Add(10*time.Minute)), nil
		}
		until(t, cfg, 2)
		second := 9*time.Minute + 30*time.Second
		want := []string{
			fmt.Sprint(second, " ", jwt("expired", began.Add(second+10*time.Minute))),
			fmt.Sprint(2*second-30*time.Second, " ", jwt("expired", began.Add(2*second-30*time.Second+10*time.Minute))),
		}
		if !slices.Equal(sent, want) {
			t.Errorf("renewals: got %v, want %v", sent, want)
		}
		if got, want := s.bearers()[1], jwt("expired", began.Add(2*second-30*time.Second+10*time.Minute)); got != want {
			t.Errorf("token of the next connection: got %s, want the last one, %s", got, want)
		}
	})
}

func TestTokenFuncError(t *testing.T) {
	t.Parallel()
	t.Run("is tried again", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := play(t, sends(event(1)))
			cfg := s.config()
			calls := 0
			cfg.Token = func(context.Context, client.TokenReason) (string, error) {
				if calls++; calls < 3 {
					return "", errTest
				}
				return "token", nil
			}
			until(t, cfg, 1)
		})
	})
	t.Run("that says rejected ends the run", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			cfg := play(t).config()
			cfg.Token = func(context.Context, client.TokenReason) (string, error) {
				return "", fmt.Errorf("logged out: %w", client.ErrRejected)
			}
			if err := runErr(t, cfg); !errors.Is(err, client.ErrRejected) {
				t.Errorf("Run: got %v, want ErrRejected", err)
			}
		})
	})
	t.Run("that says rejected ends the run while it is live", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			cfg := play(t, sends(live(1))).config()
			cfg.Token = func(_ context.Context, reason client.TokenReason) (string, error) {
				if reason == client.TokenExpired {
					return "", client.ErrRejected
				}
				return jwt("a", time.Now().Add(time.Minute)), nil
			}
			if err := runErr(t, cfg); !errors.Is(err, client.ErrRejected) {
				t.Errorf("Run: got %v, want ErrRejected", err)
			}
		})
	})
	for name, token := range map[string]string{"empty": " \n", "a page": "<html>502 Bad Gateway</html>", "a header of its own": "a\r\nX-Evil: 1"} {
		t.Run("a static token that is "+name+" ends the run", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cfg := play(t).config()
				cfg.Token = client.StaticToken(token)
				if err := runErr(t, cfg); !errors.Is(err, client.ErrRejected) || strings.Contains(err.Error(), "Evil") {
					t.Errorf("Run: got %v, want ErrRejected without the token", err)
				}
			})
		})
		t.Run("a token that is "+name+" is asked for again", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := play(t, sends(event(1)))
				cfg := s.config()
				calls := 0
				cfg.Token = func(context.Context, client.TokenReason) (string, error) {
					if calls++; calls < 3 {
						return token, nil
					}
					return "token", nil
				}
				until(t, cfg, 1)
			})
		})
	}
	t.Run("space around a token is taken off", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := play(t, sends(event(1)))
			cfg := s.config()
			cfg.Token = client.StaticToken("token\n")
			until(t, cfg, 1)
			if got, want := s.bearers()[0], "token"; got != want {
				t.Errorf("token: got %q, want %q", got, want)
			}
		})
	})
}

// A token appears only in the Authorization header, even when the server repeats it.
func TestTokenStaysSecret(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const canary = "canary-token"
		s := play(t,
			func(p *peer) { p.upgrade().send(live(1)).close(1011, "bad "+canary) },
			func(p *peer) {
				p.w.Header().Set("Content-Type", "application/problem+json; charset=utf-8")
				p.w.WriteHeader(503)
				_ = json.NewEncoder(p.w).Encode(map[string]string{"code": "unavailable", "detail": "not " + canary})
			},
			func(p *peer) {
				p.w.WriteHeader(502)
				fmt.Fprintln(p.w, "a proxy's page with", canary)
			},
			closes(4003))
		var out bytes.Buffer
		cfg := s.config()
		cfg.Token = client.StaticToken(canary)
		cfg.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
		var problem *client.StatusError
		cfg.OnState = func(c client.StateChange) {
			fmt.Fprintln(&out, c)
			if e, ok := errors.AsType[*client.StatusError](c.Err); ok && e.Status == 503 {
				problem = e
			}
		}
		fmt.Fprintln(&out, runErr(t, cfg), s.seen()[0].url)
		if strings.Contains(out.String(), canary) || strings.Count(out.String(), "[token]") < 2 {
			t.Errorf("output: got\n%s, want it without the token", out.String())
		}
		if problem == nil || problem.Code != taskfeed.CodeUnavailable || problem.Detail != "not [token]" {
			t.Errorf("problem: got %#v, want its code and detail", problem)
		}
	})
}
