package web

import (
	"net/http"
	"os"
	"strings"
	"testing"
)

func TestSDKIsServedToEverySite(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"taskfeed.js", "share.js"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile("client/dist/" + name)
			if err != nil {
				t.Fatalf("read the build: %v", err)
			}
			res := ask(http.MethodGet, "/sdk/"+name, "Origin", "https://app.example")
			if got := bodyOf(t, res); res.StatusCode != http.StatusOK || got != string(want) {
				t.Fatalf("got status %d and %d bytes, want 200 and the %d bytes of the build", res.StatusCode, len(got), len(want))
			}
			for header, want := range map[string]string{
				"Content-Type":                 "text/javascript; charset=utf-8",
				"Cache-Control":                "no-cache",
				"Cross-Origin-Resource-Policy": "cross-origin",
				"Access-Control-Allow-Origin":  "*",
				"X-Content-Type-Options":       "nosniff",
			} {
				if got := res.Header.Get(header); got != want {
					t.Errorf("%s: got %q, want %q", header, got, want)
				}
			}
			tag := res.Header.Get("ETag")
			again := ask(http.MethodGet, "/sdk/"+name, "If-None-Match", tag)
			if tag == "" || again.StatusCode != http.StatusNotModified {
				t.Errorf("ETag %q again: got status %d, want a tag and 304", tag, again.StatusCode)
			}
		})
	}
}

// Files other than the client are not allowed for other sites, whatever their names.
func TestSDKOpensNothingElse(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"/", "/static/page.js", "/console/", "/sdk/", "/sdk/nothing.js", "/sdk/../static/page.js"} {
		res := ask(http.MethodGet, url)
		if got := res.Header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("%s: Access-Control-Allow-Origin: got %q, want none", url, got)
		}
		if strings.HasPrefix(url, sdkPath) && res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: got status %d, want 404", url, res.StatusCode)
		}
	}
	if got := ask(http.MethodPost, "/sdk/taskfeed.js").StatusCode; got != http.StatusMethodNotAllowed {
		t.Errorf("POST: got status %d, want 405", got)
	}
}

// The budget is for the file that a script tag loads, compressed.
func TestSDKIsSmall(t *testing.T) {
	t.Parallel()
	const most = 7680
	if got := len(loadSDK()["/sdk/taskfeed.js"].small()); got > most {
		t.Errorf("the client, compressed: got %d bytes, want at most %d", got, most)
	}
}
