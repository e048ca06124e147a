package web

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func ask(method, url string, header ...string) *http.Response {
	r := httptest.NewRequest(method, url, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler(false).ServeHTTP(w, r)
	return w.Result()
}

func bodyOf(t *testing.T, r *http.Response) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := b.ReadFrom(r.Body); err != nil {
		t.Fatalf("read body: %v", err)
	}
	return b.String()
}

// names lists the embedded files.
func names(t *testing.T) []string {
	t.Helper()
	var found []string
	err := fs.WalkDir(content, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, name)
		}
		return err
	})
	if err != nil {
		t.Fatalf("list embedded files: %v", err)
	}
	return found
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := content.ReadFile(name)
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	return string(b)
}

func TestHandlerServesEveryFile(t *testing.T) {
	t.Parallel()
	for _, name := range names(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := read(t, name)
			res := ask(http.MethodGet, urlPath(name))
			if res.StatusCode != http.StatusOK {
				t.Fatalf("status: got %d, want 200", res.StatusCode)
			}
			if got := bodyOf(t, res); got != want {
				t.Errorf("body: got %d bytes, want the %d bytes of the file", len(got), len(want))
			}
			if got, want := res.Header.Get("Content-Type"), kinds[path.Ext(name)]; got != want || got == "" {
				t.Errorf("Content-Type: got %q, want %q and not empty", got, want)
			}
		})
	}
}

func TestHandlerHead(t *testing.T) {
	t.Parallel()
	res := ask(http.MethodHead, "/")
	if res.StatusCode != http.StatusOK {
		t.Errorf("status: got %d, want 200", res.StatusCode)
	}
	if got, want := res.Header.Get("Content-Length"), strconv.Itoa(len(read(t, "index.html"))); got != want {
		t.Errorf("Content-Length: got %s, want %s", got, want)
	}
	if got := bodyOf(t, res); got != "" {
		t.Errorf("body: got %d bytes, want none", len(got))
	}
}

func TestHandlerRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method, url string
		want        int
	}{
		{http.MethodGet, "/static/", http.StatusNotFound},
		{http.MethodGet, "/static", http.StatusNotFound},
		{http.MethodGet, "/static/nothing.js", http.StatusNotFound},
		{http.MethodGet, "/static/../web.go", http.StatusNotFound},
		{http.MethodGet, "/static/..%2findex.html", http.StatusNotFound},
		{http.MethodGet, "/index.html", http.StatusNotFound},
		{http.MethodPost, "/nothing", http.StatusNotFound},
		{http.MethodPost, "/", http.StatusMethodNotAllowed},
		{http.MethodDelete, "/static/page.js", http.StatusMethodNotAllowed},
	} {
		t.Run(c.method+" "+c.url, func(t *testing.T) {
			t.Parallel()
			res := ask(c.method, c.url)
			if res.StatusCode != c.want {
				t.Errorf("status: got %d, want %d", res.StatusCode, c.want)
			}
			if got := res.Header.Get("Allow"); c.want == http.StatusMethodNotAllowed && got != "GET, HEAD" {
				t.Errorf("Allow: got %q, want %q", got, "GET, HEAD")
			}
			wantSecure(t, res.Header)
		})
	}
}

func TestHandlerSecures(t *testing.T) {
	t.Parallel()
	for _, name := range names(t) {
		wantSecure(t, ask(http.MethodGet, urlPath(name)).Header)
	}
}

// wantSecure checks the headers that every answer has.
func wantSecure(t *testing.T, h http.Header) {
	t.Helper()
	for name, want := range map[string]string{
		"X-Content-Type-Options":       "nosniff",
		"Referrer-Policy":              "no-referrer",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	policy := h.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'",
		"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} {
		if !slices.Contains(strings.Split(policy, "; "), want) {
			t.Errorf("Content-Security-Policy: got %q, want it to hold %q", policy, want)
		}
	}
	for _, bad := range []string{"unsafe", "http:", "https:", "*", "data:"} {
		if strings.Contains(policy, bad) {
			t.Errorf("Content-Security-Policy: got %q, want it without %q", policy, bad)
		}
	}
}

func TestHandlerRevalidates(t *testing.T) {
	t.Parallel()
	first := ask(http.MethodGet, "/static/page.js")
	etag := first.Header.Get("ETag")
	if etag == "" || first.Header.Get("Cache-Control") != "no-cache" {
		t.Fatalf("ETag %q, Cache-Control %q: got these, want a tag and no-cache", etag, first.Header.Get("Cache-Control"))
	}
	if got := ask(http.MethodGet, "/static/page.js", "If-None-Match", etag).StatusCode; got != http.StatusNotModified {
		t.Errorf("the same tag: got status %d, want 304", got)
	}
	if got := ask(http.MethodGet, "/", "If-None-Match", etag).StatusCode; got != http.StatusOK {
		t.Errorf("the tag of another file: got status %d, want 200", got)
	}
}

// Browsers refuse inline code because of the policy; this test finds it earlier.
func TestPagesHaveNothingInline(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"index.html", "demo.html"} {
		wantNothingInline(t, name, read(t, name))
	}
	wantNothingInline(t, "the console", string(newConsole(false).page))
}

func wantNothingInline(t *testing.T, name, html string) {
	t.Helper()
	for what, pattern := range map[string]string{
		"a script without src": `<script(?:\s+(?:type|async|defer)[^\s>]*)*\s*>`,
		"a style element":      `<style`,
		"a style attribute":    `\sstyle\s*=`,
		"an event handler":     `\son[a-z]+\s*=`,
		"a javascript: URL":    `javascript:`,
		"another site":         `(?:src|href)\s*=\s*"(?:[a-z]+:)?//`,
		"an absolute path":     `(?:src|href)\s*=\s*"/`, // breaks below a path prefix
	} {
		if found := regexp.MustCompile(`(?i)` + pattern).FindString(html); found != "" {
			t.Errorf("%s has %s: got %q, want none", name, what, found)
		}
	}
}

func TestPagesReferToWhatExists(t *testing.T) {
	t.Parallel()
	elsewhere := []string{"docs/api"} // served by others
	for _, name := range []string{"index.html", "demo.html"} {
		refs := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(read(t, name), -1)
		if len(refs) < 3 {
			t.Errorf("references in %s: got %d, want a script, a style sheet and an icon", name, len(refs))
		}
		for _, ref := range refs {
			if status := ask(http.MethodGet, "/"+ref[1]).StatusCode; status != http.StatusOK && !slices.Contains(elsewhere, ref[1]) {
				t.Errorf("%s refers to %q: got status %d there, want 200", name, ref[1], status)
			}
		}
	}
}

// Where the app says who sends a request, no page asks for a token.
func TestPagesOfAnApp(t *testing.T) {
	t.Parallel()
	for old := range tokensInWelcome {
		if !strings.Contains(read(t, "index.html"), old) {
			t.Errorf("index.html: got no %q, want what is replaced", old)
		}
	}
	ask := func(path string) *http.Response {
		w := httptest.NewRecorder()
		Handler(true).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, http.NoBody))
		return w.Result()
	}
	page := bodyOf(t, ask("/"))
	for _, bad := range []string{"token", "demo", "<script"} {
		if strings.Contains(page, bad) {
			t.Errorf("the welcome page: got %q in it, want none", bad)
		}
	}
	for _, ref := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if status := ask("/" + ref[1]).StatusCode; status != http.StatusOK && ref[1] != "docs/api" {
			t.Errorf("the welcome page refers to %q: got status %d there, want 200", ref[1], status)
		}
	}
	if got := ask("/demo").StatusCode; got != http.StatusNotFound {
		t.Errorf("/demo: got status %d, want 404", got)
	}
}

// Links to / with a token still work.
func TestWelcomePassesTokensOn(t *testing.T) {
	t.Parallel()
	if got, want := read(t, "static/welcome.js"), `location.replace("demo" + location.hash)`; !strings.Contains(got, want) {
		t.Errorf("welcome.js: got %q, want it to hold %q", got, want)
	}
}

// Text of users reaches the page only as text.
func TestScriptMakesNoMarkup(t *testing.T) {
	t.Parallel()
	script := read(t, "static/page.js")
	for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function",
		"DOMParser", "createContextualFragment", "setAttribute(\"on", "localStorage"} {
		if strings.Contains(script, bad) {
			t.Errorf("page.js: got %q in it, want none", bad)
		}
	}
}

// Every element that the script uses by its id is in the page.
func TestScriptFindsItsElements(t *testing.T) {
	t.Parallel()
	ids := make(map[string]bool)
	upper := regexp.MustCompile(`-.`)
	for _, m := range regexp.MustCompile(`\sid="([^"]+)"`).FindAllStringSubmatch(read(t, "demo.html"), -1) {
		ids[upper.ReplaceAllStringFunc(m[1], func(s string) string { return strings.ToUpper(s[1:]) })] = true
	}
	used := regexp.MustCompile(`\bview\.(\w+)`).FindAllStringSubmatch(read(t, "static/page.js"), -1)
	if len(used) < 10 {
		t.Fatalf("uses of view in page.js: got %d, want at least 10", len(used))
	}
	for _, m := range used {
		if !ids[m[1]] {
			t.Errorf("page.js uses view.%s: got no element with that id, want one", m[1])
		}
	}
}

func TestPageIsSmall(t *testing.T) {
	t.Parallel()
	const most = 20 << 10 // compressed; the budget of the console to come is six times that
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	for _, name := range names(t) {
		if _, err := w.Write([]byte(read(t, name))); err != nil {
			t.Fatalf("compress %s: %v", name, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatalf("compress: %v", err)
	}
	if b.Len() > most {
		t.Errorf("page, compressed: got %d bytes, want at most %d", b.Len(), most)
	}
}
