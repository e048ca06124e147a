package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/taskfeed/taskfeed"
)

// TestStatus: the console used /readyz and /metrics, which proxies do not publish,
// and so reported that the server does not answer.
func TestStatus(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	checks := []Check{{Name: "database", Run: func(context.Context) error {
		if broken.Load() {
			return errors.New("dial tcp: password=hunter2")
		}
		return nil
	}}}
	f := serve(t, setup{cfg: Config{CheckInterval: -1}, deps: Deps{Checks: checks}})
	expect := func(token, want string) {
		t.Helper()
		resp, body := f.getAs(token, "/v1/status")
		if resp.StatusCode != http.StatusOK || strings.TrimSpace(body) != want || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%d %s, want 200 %s, in no cache", resp.StatusCode, body, want)
		}
	}
	user, admin := f.token("alice"), f.adminToken()
	expect(user, `{"status":"ready"}`)
	expect(admin, `{"status":"ready","checks":[{"name":"not_draining","ok":true},{"name":"database","ok":true}]}`)
	broken.Store(true) // the server answers all the same
	expect(user, `{"status":"not ready"}`)
	expect(admin, `{"status":"not ready","checks":[{"name":"not_draining","ok":true},`+
		`{"name":"database","ok":false,"detail":"the check failed; the server's log has the cause"}]}`)

	for token, want := range map[string]struct {
		status int
		code   taskfeed.Code
	}{"": {401, taskfeed.CodeBadToken}, "forged": {401, taskfeed.CodeBadToken}} {
		for _, path := range []string{"/v1/status", "/v1/metrics"} {
			resp, body := f.getAs(token, path)
			f.expectRefusal(resp, body, want.status, want.code)
		}
	}
	resp, body := f.getAs(user, "/v1/metrics")
	f.expectRefusal(resp, body, 403, taskfeed.CodeForbidden)
	resp, body = f.getAs(user, "/v1/status?verbose=")
	f.expectRefusal(resp, body, 400, taskfeed.CodeBadRequest, "verbose")
	if resp, body = f.getAs(admin, "/v1/metrics"); resp.StatusCode != 200 || !strings.Contains(body, "\ntaskfeed_connections 0\n") || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %.200s, want 200 and the metrics, in no cache", resp.StatusCode, body)
	}
}
