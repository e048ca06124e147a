package feeds

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/taskfeed/taskfeed"
)

func TestClip(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "short", strings.Repeat("x", 123), strings.Repeat("x", 500), strings.Repeat("€", 100), "x" + strings.Repeat("€", 100)} {
		got := clip(s)
		if len(got) > 123 || !utf8.ValidString(got) || !strings.HasPrefix(s, got) || len(s) <= 123 && got != s {
			t.Errorf("clip(%q) = %q, want at most 123 bytes of whole characters", s, got)
		}
	}
	for _, reason := range []string{reasonForbidden, reasonExpired, reasonSlow, reasonNoPong, reasonTooMany, reasonTooBig, reasonBinary, reasonRestart, reasonShed, reasonDisconnected, reasonInternal} {
		if reason != clip(reason) {
			t.Errorf("reason %q is too long for a close frame", reason)
		}
	}
}

func TestParseMessage(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]struct {
		kind  messageKind
		token string
	}{
		`{"type":"auth","token":"secret"}`:     {messageAuth, "secret"},
		`{"type":"auth"}`:                      {messageAuth, ""},
		`ping`:                                 {messagePing, ""},
		``:                                     {messageIgnored, ""},
		`secret`:                               {messageIgnored, ""},
		`{"token":"secret"}`:                   {messageIgnored, ""},
		`{"type":"ping","token":"secret"}`:     {messageIgnored, ""},
		`{"type":"Auth","token":"secret"}`:     {messageIgnored, ""},
		`{"type":"auth","token":"secret"`:      {messageIgnored, ""},
		`{"type":"auth","token":["secret"]}`:   {messageIgnored, ""},
		`{"token":"secret","type":7}`:          {messageIgnored, ""},
		`[{"type":"auth","token":"secret"}]`:   {messageIgnored, ""},
		` {"type":"auth","token":"secret"}`:    {messageAuth, "secret"},
		"\n{\"type\":\"message\",\"token\":7}": {messageToApp, ""},
		`{"type":"message","data":{"a":`:       {messageToApp, ""}, // to be told what is wrong
		`{"type":"message","data":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`: {messageToApp, ""},
		`{"type":"auth","type":"x","token":"secret"}`:                                                 {messageIgnored, ""},
	} {
		if m := parseMessage([]byte(message)); m.kind != want.kind || m.token != want.token {
			t.Errorf("%q: kind %d with token %q, want %d with %q", message, m.kind, m.token, want.kind, want.token)
		}
	}
}

func TestParseRead(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]taskfeed.Cursor{
		`{"type":"read","through":4712}`:             4712,
		`{"through":0,"type":"read","more":[]}`:      0,
		`{"type":"read","through":9007199254740991}`: taskfeed.MaxID,
		`{"type":"read"}`:                            -1,
		`{"type":"read","through":null}`:             -1,
		`{"type":"read","through":-1}`:               -1,
		`{"type":"read","through":1.0}`:              -1,
		`{"type":"read","through":1e3}`:              -1,
		`{"type":"read","through":"4712"}`:           -1,
		`{"type":"read","through":9007199254740992}`: -1,
		`{"type":"read","through":{}}`:               -1,
	} {
		m, got := parseMessage([]byte(message)), taskfeed.Cursor(-1)
		if m.through != nil {
			got = *m.through
		}
		if m.kind != messageRead || got != want {
			t.Errorf("%s: kind %d, through %d, want %d and %d", message, m.kind, got, messageRead, want)
		}
	}
}
