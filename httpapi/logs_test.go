package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/lab/wstest"
)

// spaced is a token with a blank in its header, so that it does not begin with eyJ
// as most do. No known issuer makes such tokens, but a person may paste one.
func (f *fixture) spaced() string {
	b64 := base64.RawURLEncoding.EncodeToString
	signature := b64([]byte("a signature of the length of HS256"))
	f.mu.Lock()
	defer f.mu.Unlock()
	token := b64([]byte(`{ "alg": "HS256" }`)) + "." + b64([]byte(`{"sub":"alice"}`)) + "." + signature
	f.secrets = append(f.secrets, token, signature)
	return token
}

// TestTokensInOddPlaces (bad input 101): a token whose header has a blank was logged in full
// when it was used in a path, or as the value of a parameter that is logged. The
// fixture searches the log for it at the end.
func TestTokensInOddPlaces(t *testing.T) {
	t.Parallel()
	f, _ := serveREST(t, &fakeHistory{}, Config{})
	token, admin := f.spaced(), f.adminToken()
	asked := 0
	for _, path := range []string{"/nothing/%s", "/v1/tasks/%s", "/v1/tasks/%s/events", "/v1/events?task_id=%s", "/v1/events?after=%s", "/v1/tasks?user_id=%s&x=%s", "/?%s", "/?%s=1", "/?a=%s;", "/ws/%s?after=0"} {
		for _, form := range []string{token, token + "=", strings.ReplaceAll(token, ".", "%2E"), strings.ReplaceAll(token, "e", "%65"), strings.ReplaceAll(token, "e", "%2565")} {
			r := f.request(http.MethodGet, strings.ReplaceAll(path, "%s", form), admin)
			r.Header.Set("Referer", "https://app.example/#access_token="+token)
			r.Header.Set("User-Agent", token)
			r.Header.Set(request.HeaderID, token[:min(len(token), 64)])
			resp, body := f.do(r)
			if strings.Contains(body, token) || strings.Contains(resp.Header.Get(request.HeaderID), token[:20]) {
				t.Errorf("%s: the answer repeats the token: %v %s", path, resp.Header, body)
			}
			asked++
		}
	}
	f.feeds.DisconnectUser(token)
	f.Obey(taskfeed.CommandDisconnectUser, token)
	resp, _ := f.do(f.request(http.MethodDelete, "/v1/users/"+token+"/connections", admin))
	if resp.StatusCode != http.StatusAccepted {
		t.Errorf("DELETE: %d, want 202", resp.StatusCode)
	}
	f.eventually("the command is logged", func() bool { return len(f.logs.lines(`"msg":"admin command"`, "REDACTED")) == 1 })
	if got := len(f.logs.lines(`"msg":"request"`)); got == 0 || got > asked+1 {
		t.Errorf("%d lines, want some", got)
	}
}

// TestRefusalsAreSampled (bad input 102): each refused handshake was logged with two lines at
// info without a limit, so anybody could fill the disk.
func TestRefusalsAreSampled(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	wstest.Dial(t, f.url+"/ws/alice?token=forged", wstest.Options{}).ExpectClose(taskfeed.CloseBadToken)
	refusals := func() int { return len(f.logs.lines(`"level":"INFO"`, `"code":`)) }
	f.eventually("the refused handshake is in the log", func() bool { return refusals() > 0 }) // it is logged after the answer
	if got := refusals(); got != 1 {
		t.Errorf("%d lines of a refused handshake, want 1", got)
	}
	const times = 100
	for range times {
		wstest.Dial(t, f.url+"/ws/alice?token=forged", wstest.Options{}).ExpectClose(taskfeed.CloseBadToken)
		f.get("/ws/alice?after=x")
		f.get("/nothing")
	}
	f.dial("alice").ExpectQuiet()
	f.stop()
	if err := f.wait(); err != nil {
		t.Fatal(err)
	}
	for code, want := range map[string]int{"bad_token": times + 1, "upgrade_required": times, "not_found": times} {
		lines := len(f.logs.lines(`"msg":"request"`, `"code":"`+code+`"`))
		if left := f.leftOut("request: " + code); lines+left != want || left == 0 {
			t.Errorf("%d lines of refusals with %s and %d left out, want together %d and most of them left out", lines, code, left, want)
		}
	}
	if got := len(f.logs.lines(`"msg":"request"`, `"status":101`, "connection_id")); got != 1 {
		t.Errorf("%d lines of the connection that was let in, want 1", got)
	}
}

// leftOut is the number of lines of a kind that, by the log, were left out.
func (f *fixture) leftOut(kind string) (sum int) {
	for _, line := range f.logs.lines("lines were left out", `"level":"INFO"`, `"kind":"`+kind+`"`) {
		var told struct{ Count int }
		if err := json.Unmarshal([]byte(line), &told); err != nil {
			f.t.Fatalf("%s: %v", line, err)
		}
		sum += told.Count
	}
	return sum
}
