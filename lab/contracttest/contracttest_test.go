package contracttest

import (
	"net/http"
	"testing"

	"github.com/taskfeed/taskfeed/httpapi/contract"
	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// TestFaultsAreFound proves that the check can fail.
func TestFaultsAreFound(t *testing.T) {
	t.Parallel()
	c := Load(t, contract.Files)
	const me = `{"user_id":"a","admin":false,"expires_at":"2026-11-22T10:00:00Z"`
	const refusal = `{"type":"https://x/y#z","title":"t","status":401,"detail":"d","instance":"i","code":"bad_token","request_id":"r"}`
	answer := func(status int, headers ...string) *http.Response {
		resp := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}}
		for i := 0; i < len(headers); i += 2 {
			resp.Header.Set(headers[i], headers[i+1])
		}
		return resp
	}
	for _, tc := range []struct {
		name, url string
		resp      *http.Response
		body      string
		good      bool
	}{
		{"as documented", "/v1/me", answer(200), me + `}`, true},
		{"a field that is not documented", "/v1/me", answer(200), me + `,"password":"x"}`, false},
		{"a field that is missing", "/v1/me", answer(200), `{"user_id":"a","admin":false}`, false},
		{"a field of another type", "/v1/me", answer(200), `{"user_id":7,"admin":false,"expires_at":"2026-11-22T10:00:00Z"}`, false},
		{"no time", "/v1/me", answer(200), `{"user_id":"a","admin":false,"expires_at":"soon"}`, false},
		{"an item of a list that is not documented", "/v1/me/tasks", answer(200), `{"items":[{"id":"x"}]}`, false},
		{"no JSON", "/v1/me", answer(200), `oops`, false},
		{"another type of body", "/v1/me", answer(200, "Content-Type", "text/plain"), me + `}`, false},
		{"a refusal", "/v1/me", answer(401, "Content-Type", "application/problem+json", "WWW-Authenticate", "Bearer x"), refusal, true},
		{"a refusal without its header", "/v1/me", answer(401, "Content-Type", "application/problem+json"), refusal, false},
		{"a refusal that is no problem document", "/v1/me", answer(418, "Content-Type", "application/problem+json"), `{"message":"teapot"}`, false},
		{"a request that is not documented", "/v1/tasks?limit=0", answer(200), `{"items":[]}`, false},
		{"a URL that is not documented", "/v1/secret", answer(200), `{}`, false},
		{"a URL that does not exist", "/v1/secret", answer(404), `{}`, true},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1"+tc.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.answer(r, tc.resp, []byte(tc.body)); (err == nil) != tc.good {
			t.Errorf("%s: %v, want it to pass: %v", tc.name, err, tc.good)
		}
	}
}
