package httpapi

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/hub"
)

func TestConfig(t *testing.T) {
	t.Parallel()

	t.Run("zero is the default and negative is off", func(t *testing.T) {
		t.Parallel()
		cfg := Config{Drain: -1, MessagesPerMinute: -7}.withDefaults()
		if cfg.Drain != off || cfg.MessagesPerMinute != off {
			t.Errorf("Drain %v and MessagesPerMinute %d, want both off", cfg.Drain, cfg.MessagesPerMinute)
		}
		if cfg.WriteTimeout != 5*time.Second || cfg.MaxMessageBytes != 64<<10 || cfg.HandshakesPerMinute != off || cfg.MetricsUsers != 1000 {
			t.Errorf("defaults are %+v", cfg)
		}
	})

	t.Run("every field that cannot be used is named", func(t *testing.T) {
		t.Parallel()
		verifier := must(auth.New(authConfig))
		for name, cfg := range map[string]Config{
			"Addr":           {},
			"WriteTimeout":   {WriteTimeout: -1},
			"MaxHeaderBytes": {MaxHeaderBytes: -1},
			"AllowedOrigins": {AllowedOrigins: []string{"app.example.com"}},
		} {
			_, err := New(Deps{Hub: must(hub.New(new(memLog), hub.Config{})), Verifier: verifier}, cfg)
			if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "Addr") {
				t.Errorf("error %v, want it to name Addr and %s", err, name)
			}
		}
		if _, err := New(Deps{}, Config{Addr: "127.0.0.1:0"}); err == nil || !strings.Contains(err.Error(), "Hub") || !strings.Contains(err.Error(), "Verifier") {
			t.Errorf("error %v, want it to name Hub and Verifier", err)
		}
	})

	t.Run("an address that is taken", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{})
		s := must(New(f.deps, Config{Addr: strings.TrimPrefix(f.url, "http://")}))
		if err := s.Run(t.Context()); err == nil {
			t.Error("Run returned nil, want an error")
		}
	})
}

func TestKeepalive(t *testing.T) {
	t.Parallel()
	cfg := Config{PingInterval: 25 * time.Second, PongTimeout: 10 * time.Second}
	expect := func(k *keepalive, now, lastRead time.Duration, want verdict) {
		t.Helper()
		if got := k.look(now, lastRead, &cfg); got != want {
			t.Errorf("at %v, last heard of at %v: verdict %d, want %d", now, lastRead, got, want)
		}
	}
	var k keepalive
	k.start(0, cfg.PingInterval)
	if k.pingAt < cfg.PingInterval/2 || k.pingAt > cfg.PingInterval {
		t.Errorf("first ping at %v, want it in the second half of the first interval", k.pingAt)
	}
	k.pingAt = 20 * time.Second
	expect(&k, 19*time.Second, 0, verdictFine)
	expect(&k, 20*time.Second, 0, verdictPing)
	expect(&k, 44*time.Second, 0, verdictFine) // not written yet: the peer has nothing to answer
	k.pinged(20*time.Second, 21*time.Second, cfg.PongTimeout)
	expect(&k, 30*time.Second, 19*time.Second, verdictFine)
	expect(&k, 31*time.Second, 19*time.Second, verdictDead)
	early := k // a pong that was read before the writer of the ping went on once did not count
	expect(&early, 31*time.Second, 20*time.Second+time.Microsecond, verdictFine)
	expect(&k, 31*time.Second, 22*time.Second, verdictFine)
	expect(&k, 45*time.Second, 22*time.Second, verdictPing)

	k.expireAt(46*time.Second, time.Now().Add(4*time.Second))
	expect(&k, 49*time.Second, 49*time.Second, verdictFine)
	expect(&k, 50*time.Second, 49*time.Second, verdictExpired)
	for _, at := range []time.Time{{}, time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)} {
		k.expireAt(time.Hour, at)
		if k.expires != never {
			t.Errorf("a token good until %v expires after %v, want never", at, k.expires)
		}
	}
	k.expireAt(time.Hour, time.Now().Add(-time.Minute))
	expect(&k, time.Hour, time.Hour, verdictExpired)

	k.start(0, off)
	expect(&k, 1000*time.Hour, 0, verdictFine) // no pings
}

func TestClip(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "short", strings.Repeat("x", 123), strings.Repeat("x", 500), strings.Repeat("€", 100), "x" + strings.Repeat("€", 100)} {
		got := clip(s)
		if len(got) > 123 || !utf8.ValidString(got) || !strings.HasPrefix(s, got) || len(s) <= 123 && got != s {
			t.Errorf("clip(%q) = %q, want at most 123 bytes of whole characters", s, got)
		}
	}
	for _, reason := range []string{reasonForbidden, reasonExpired, reasonSlow, reasonNoPong, reasonTooMany, reasonTooBig, reasonBinary, reasonRestart, reasonDisconnected, reasonInternal} {
		if reason != clip(reason) {
			t.Errorf("reason %q is too long for a close frame", reason)
		}
	}
}

func TestChunkBoundary(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		n    int
		torn bool
		want int
		ok   bool
	}{
		{0, false, 0, true}, {0, true, 10, true}, {1, false, 10, true}, {10, false, 10, true}, {11, false, 30, true}, {30, true, 30, true}, {31, false, 0, false},
	} {
		b := chunk{buf: make([]byte, 40), ends: []int{10, 30}, torn: tc.torn}
		if got, ok := b.boundary(tc.n); got != tc.want || ok != tc.ok {
			t.Errorf("boundary(%d) with torn %v: %d, %v; want %d, %v", tc.n, tc.torn, got, ok, tc.want, tc.ok)
		}
	}
}

// endedMember is a connection that can be described.
type endedMember struct{ member }

func (endedMember) describe() Connection { return Connection{UserID: "alice"} }

func TestEndedConnectionsAreForgotten(t *testing.T) {
	t.Parallel()
	r := newRegistry("server")
	for range keepEnded + 7 {
		id, _ := r.enter()
		r.add(id, endedMember{})
		r.remove(id)
		r.remove(id)
		r.leave()
	}
	page, more := r.page("alice", true, 0, 2*keepEnded)
	if len(page) != keepEnded || more || page[0].ID != r.name(8) || page[keepEnded-1].ID != r.name(keepEnded+7) {
		t.Errorf("got %d from %s to %s, want the last %d", len(page), page[0].ID, page[len(page)-1].ID, keepEnded)
	}
	if open, _ := r.page("", false, 0, 10); len(open) != 0 {
		t.Errorf("got %d open, want none", len(open))
	}
}
