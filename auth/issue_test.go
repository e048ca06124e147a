package auth

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestIssue(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		cfg  Config
		role string
	}{
		{"plain", Config{}, ""},
		{"admin", Config{}, "admin"},
		{"issuer, audience and type", Config{Issuer: "https://issuer.example", Audience: "taskfeed", Type: "at+jwt"}, "admin"},
		{"another role claim", Config{RoleClaim: "https://taskfeed.example/role"}, "admin"},
		{"narrowed algorithms", Config{Algorithms: []string{"HS512"}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			now := noon.Add(300 * time.Millisecond)
			c.cfg.Secret, c.cfg.Now = secret, func() time.Time { return now }
			token, err := Issue(c.cfg, "alice", c.role, time.Hour)
			if err != nil {
				t.Fatalf("Issue: %v", err)
			}
			got := wantAccepted(t, newVerifier(t, c.cfg), token, "alice")
			want := Principal{UserID: "alice", Role: c.role, ExpiresAt: noon.Add(time.Hour + 30*time.Second)}
			if !got.ExpiresAt.Equal(want.ExpiresAt) || got.Role != want.Role {
				t.Errorf("principal: got %+v, want %+v", got, want)
			}
			now = now.Add(time.Hour + 30*time.Second)
			wantRefused(t, newVerifier(t, c.cfg), token, errExpired)
		})
	}
}

func TestIssueRefuses(t *testing.T) {
	t.Parallel()
	good := Config{Secret: secret}
	for _, c := range []struct {
		name         string
		cfg          Config
		userID, role string
		ttl          time.Duration
		says         string
	}{
		{"no secret", Config{JWKSURL: "https://issuer.example/keys"}, "alice", "", time.Hour, "Secret: "},
		{"short secret", Config{Secret: secret[:31]}, "alice", "", time.Hour, "Secret: "},
		{"role claim with another meaning", Config{Secret: secret, RoleClaim: "sub"}, "alice", "admin", time.Hour, "RoleClaim: "},
		{"no algorithm for a secret", Config{Secret: secret, Algorithms: []string{"RS256"}}, "alice", "", time.Hour, "Algorithms: "},
		{"empty user id", good, "", "", time.Hour, "user id"},
		{"long user id", good, strings.Repeat("a", 256), "", time.Hour, "user id"},
		{"user id with a line break", good, "alice\n", "", time.Hour, "user id"},
		{"user id that is not UTF-8", good, "alice\xff", "", time.Hour, "user id"},
		{"role that is not UTF-8", good, "alice", "\xff", time.Hour, "role"},
		{"feeds claim with another meaning", Config{Secret: secret, FeedsClaim: "exp"}, "alice", "", time.Hour, "FeedsClaim: "},
		{"no time", good, "alice", "", 0, "second"},
		{"negative time", good, "alice", "", -time.Hour, "second"},
		{"half a second", good, "alice", "", time.Second / 2, "second"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			token, err := Issue(c.cfg, c.userID, c.role, c.ttl)
			if err == nil || token != "" || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Issue: got token %q and error %v, want an error about %s", token, err, c.says)
			}
		})
	}
}

// Every user id that the schema accepts comes out of a token byte for byte.
func TestIssueKeepsUserID(t *testing.T) {
	t.Parallel()
	cfg := Config{Secret: secret, Now: func() time.Time { return noon }}
	v := newVerifier(t, cfg)
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringN(1, 255, 255).Filter(validUserID).Draw(t, "user id")
		token, err := Issue(cfg, id, "", time.Minute)
		if err != nil {
			t.Fatalf("Issue: %v", err)
		}
		p, err := v.Verify(t.Context(), token)
		if err != nil || !slices.Equal([]byte(p.UserID), []byte(id)) {
			t.Errorf("user id: got %q and error %v, want %q", p.UserID, err, id)
		}
	})
}
