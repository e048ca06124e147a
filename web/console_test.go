package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

const html = "text/html,application/xhtml+xml,*/*;q=0.8" // what a browser accepts when somebody opens a page

func TestConsoleServesItsPageOnEveryScreen(t *testing.T) {
	t.Parallel()
	for url, base := range map[string]string{
		"/console/":                      "./",
		"/console/tasks":                 "./",
		"/console/tasks?status=failed":   "./",
		"/console/tasks/t1":              "../",
		"/console/tasks/report.2026.csv": "../",
		"/console/tasks/a%2Fb":           "../",
		"/console/no/such/screen/":       "../../../",
	} {
		t.Run(url, func(t *testing.T) {
			t.Parallel()
			res := ask(http.MethodGet, url, "Accept", html)
			if res.StatusCode != http.StatusOK {
				t.Fatalf("status: got %d, want 200", res.StatusCode)
			}
			if got, want := bodyOf(t, res), `<base href="`+base+`">`; strings.Count(got, "<base") != 1 || !strings.Contains(got, want) {
				t.Errorf("page: got %q, want it to hold %q and no other base", got, want)
			}
			if got := res.Header.Get("Cache-Control"); got != "no-cache" {
				t.Errorf("Cache-Control: got %q, want no-cache", got)
			}
			wantConsolePolicy(t, res.Header)
		})
	}
}

// wantConsolePolicy checks that the console's policy differs from that of the other
// pages only in the base.
func wantConsolePolicy(t *testing.T, h http.Header) {
	t.Helper()
	got := h.Get("Content-Security-Policy")
	if want := strings.Replace(policy, "base-uri 'none'", "base-uri 'self'", 1); got != want {
		t.Errorf("Content-Security-Policy: got %q, want %q", got, want)
	}
}

func TestConsoleRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, method, url, accept string
		want                      int
	}{
		{"a script of another build", http.MethodGet, "/console/assets/index-00000000.js", html, http.StatusNotFound},
		{"a program that asks for a screen", http.MethodGet, "/console/tasks", "application/json", http.StatusNotFound},
		{"its page by its name", http.MethodGet, "/console/index.html", "*/*", http.StatusNotFound},
		{"a way out", http.MethodGet, "/console/../web.go", "*/*", http.StatusNotFound},
		{"a name that only begins like it", http.MethodGet, "/consoles", html, http.StatusNotFound},
		{"a method that writes", http.MethodPost, "/console/", html, http.StatusMethodNotAllowed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := ask(c.method, c.url, "Accept", c.accept).StatusCode; got != c.want {
				t.Errorf("status: got %d, want %d", got, c.want)
			}
		})
	}
}

func TestConsoleWithoutSlashRedirects(t *testing.T) {
	t.Parallel()
	res := ask(http.MethodGet, "/console?a=b", "Accept", html)
	if got, want := res.Header.Get("Location"), "console/?a=b"; res.StatusCode != http.StatusFound || got != want {
		t.Errorf("got status %d and Location %q, want 302 and %q, which works below any prefix", res.StatusCode, got, want)
	}
}

func TestConsoleFilesAreKept(t *testing.T) {
	t.Parallel()
	hashed := regexp.MustCompile(`^assets/.+-[\w-]{8,}\.(js|css|svg)$`)
	for name, f := range newConsole(false).files {
		want := askEachTime
		if strings.HasPrefix(name, consoleAssets) {
			want = forGood
			if !hashed.MatchString(name) {
				t.Errorf("%s: got a name without a hash, want one, for it is kept for good", name)
			}
		}
		res := ask(http.MethodGet, "/console/"+name)
		if got := res.Header.Get("Cache-Control"); got != want {
			t.Errorf("%s: Cache-Control: got %q, want %q", name, got, want)
		}
		if got := res.Header.Get("Content-Type"); got != f.kind || got == "" {
			t.Errorf("%s: Content-Type: got %q, want %q and not empty", name, got, f.kind)
		}
	}
}

// Where the app says who the user is, the page tells the script so.
func TestConsoleOfAnApp(t *testing.T) {
	t.Parallel()
	const mark = `<html lang="en" data-sessions="app">`
	for byApp, want := range map[bool]bool{false: false, true: true} {
		w := httptest.NewRecorder()
		Handler(byApp).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/console/", http.NoBody))
		if got := strings.Contains(w.Body.String(), mark); got != want {
			t.Errorf("sessions of the app: %t: the page has %s: %t, want %t", byApp, mark, got, want)
		}
	}
}

// Every file to which the page refers is part of the build.
func TestConsolePageRefersToWhatExists(t *testing.T) {
	t.Parallel()
	c := newConsole(false)
	refs := regexp.MustCompile(`(?:src|href)="\./(.+?)"`).FindAllStringSubmatch(string(c.page), -1)
	if len(refs) < 4 {
		t.Fatalf("references: got %q, want two scripts, a style sheet and an icon", refs)
	}
	for _, ref := range refs {
		if c.files[ref[1]] == nil {
			t.Errorf("the page refers to %q: got no such file, want one", ref[1])
		}
	}
}

func TestFilesAreCompressed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		accept string
		want   bool
	}{
		{"gzip", true}, {"br, gzip;q=0.8", true}, {"GZIP", true}, {"gzip; q=1", true},
		{"", false}, {"br", false}, {"gzip;q=0", false}, {"gzip; q=0.0", false}, {"xgzip", false},
	} {
		res := ask(http.MethodGet, "/static/page.js", "Accept-Encoding", c.accept)
		if got := res.Header.Get("Content-Encoding") == "gzip"; got != c.want {
			t.Errorf("Accept-Encoding %q: compressed %v, want %v", c.accept, got, c.want)
		}
		if got := res.Header.Get("Vary"); got != "Accept-Encoding" {
			t.Errorf("Accept-Encoding %q: Vary: got %q, want Accept-Encoding", c.accept, got)
		}
	}
	plain, small := ask(http.MethodGet, "/static/page.js"), ask(http.MethodGet, "/static/page.js", "Accept-Encoding", "gzip")
	if plain.Header.Get("ETag") == small.Header.Get("ETag") {
		t.Error("ETag: got the same for both forms, want two")
	}
	r, err := gzip.NewReader(small.Body)
	if err != nil {
		t.Fatalf("decompress: %v", err)
	}
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, []byte(bodyOf(t, plain))) {
		t.Errorf("decompressed: got %d bytes and error %v, want the file", len(got), err)
	}
	again := ask(http.MethodGet, "/static/page.js", "Accept-Encoding", "gzip", "If-None-Match", small.Header.Get("ETag"))
	if again.StatusCode != http.StatusNotModified {
		t.Errorf("the same tag: got status %d, want 304", again.StatusCode)
	}
}

// The budget is for scripts and styles together, compressed.
func TestConsoleIsSmall(t *testing.T) {
	t.Parallel()
	const most = 120 << 10
	sum := 0
	for name, f := range newConsole(false).files {
		if name != "licenses.txt" { // loaded by who reads it
			sum += len(compress(f.body))
		}
	}
	if sum > most {
		t.Errorf("the console, compressed: got %d bytes, want at most %d", sum, most)
	}
}
