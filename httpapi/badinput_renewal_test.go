package httpapi

import (
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
)

// TestBadInput37Renewal renews with real tokens and the real verifier.
func TestBadInput37Renewal(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	good := f.token("alice")
	past := authConfig
	past.Now = func() time.Time { return time.Now().Add(-2 * time.Hour) }
	expired := must(auth.Issue(past, "alice", "", time.Hour))
	foreign := authConfig
	foreign.Secret = []byte("another secret of the tests, 32 bytes")
	header, rest, _ := strings.Cut(good, ".")
	_, signature, _ := strings.Cut(rest, ".")
	_, claims, _ := strings.Cut(f.token("bob"), ".")
	claims, _, _ = strings.Cut(claims, ".")

	for name, tc := range map[string]struct {
		token string
		code  int
	}{
		"bad input 37: another user's":       {f.token("bob"), taskfeed.CloseForbidden},
		"bad input 37: expired":              {expired, taskfeed.CloseBadToken},
		"bad input 37: signed by another":    {must(auth.Issue(foreign, "alice", "admin", time.Hour)), taskfeed.CloseBadToken},
		"bad input 37: other claims":         {header + "." + claims + "." + signature, taskfeed.CloseBadToken},
		"bad input 37: of 1 KB and no token": {strings.Repeat("x", 1024), taskfeed.CloseBadToken},
		"bad input 37: with control bytes":   {`a\u0000\n`, taskfeed.CloseBadToken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := f.dial("alice")
			c.Send(`{"type":"auth","token":"` + good + `"}`)
			c.ExpectQuiet() // a good one is taken without a word
			c.Send(`{"type":"auth","token":"` + tc.token + `"}`)
			if reason := c.ExpectClose(tc.code); strings.Contains(reason, tc.token) {
				t.Errorf("reason %q, want it without the token", reason)
			}
		})
	}
}
