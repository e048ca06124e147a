package httpapi

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/wstest"
)

// refusedHeaders returns which of the headers a browser would not send after a
// preflight's answer (Fetch, CORS-preflight fetch): without credentials, a star
// allows every header but Authorization.
func refusedHeaders(allowed, wanted string) (refused []string) {
	var names []string
	for name := range strings.SplitSeq(allowed, ",") {
		names = append(names, strings.ToLower(strings.TrimSpace(name)))
	}
	for name := range strings.SplitSeq(wanted, ",") {
		starred := name != "authorization" && slices.Contains(names, "*")
		if !starred && !slices.Contains(names, name) {
			refused = append(refused, name)
		}
	}
	return refused
}

// WebSocket, streams and REST share one list of origins. An origin with an app's own
// scheme and the server's host name is not same-origin.
func TestOriginsOfAppsConnect(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{cfg: Config{AllowedOrigins: []string{"capacitor://localhost", "null", "https://*.example.com"}}})
	host := strings.TrimPrefix(f.url, "http://")
	alice := f.token("alice")
	for o, ok := range map[string]bool{
		"capacitor://localhost": true, "null": true, "https://a.example.com": true, "http://" + host: true,
		"capacitor://" + host: false, "tauri://localhost": false, "https://example.com": false, "file://": false,
	} {
		opts := wstest.Options{Header: http.Header{"Origin": {o}}}
		resp, body := f.getAs(alice, "/v1/me", "Origin", o)
		if !ok {
			expectProblem(t, wstest.Refused(t, f.feedURL("alice"), opts), 403, taskfeed.CodeOriginNotAllowed)
			f.expectRefusal(resp, body, 403, taskfeed.CodeOriginNotAllowed)
			continue
		}
		wstest.Dial(t, f.feedURL("alice"), opts).ExpectQuiet()
		if got := resp.Header.Get("Access-Control-Allow-Origin"); resp.StatusCode != 200 || got != o {
			t.Errorf("%s: %d and permission for %q, want 200 and the origin", o, resp.StatusCode, got)
		}
	}
}
