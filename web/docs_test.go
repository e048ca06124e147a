package web

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

var (
	linkInPage = regexp.MustCompile(`(?:href|src)="([^"]*)"`)
	idInPage   = regexp.MustCompile(` id="([^"]*)"`)
)

// Every link of every page leads to a page and a place on it, below any path prefix;
// nothing is loaded from elsewhere.
func TestLinksOfDocuments(t *testing.T) {
	t.Parallel()
	pages := make(map[string]string)
	ids := make(map[string]bool)
	for path := range loadDocs() {
		res := ask(http.MethodGet, path)
		if res.StatusCode != http.StatusOK {
			t.Fatalf("%s: got status %d, want 200", path, res.StatusCode)
		}
		if got := res.Header.Get("Content-Security-Policy"); got != docsPolicy {
			t.Errorf("%s: got policy %q, want %q", path, got, docsPolicy)
		}
		pages[path] = bodyOf(t, res)
		for _, m := range idInPage.FindAllStringSubmatch(pages[path], -1) {
			ids[path+"#"+m[1]] = true
		}
	}
	if len(pages) < 20 || pages["/docs/"] == "" || pages["/docs/operations"] == "" {
		t.Fatalf("%d pages, want all documents and their index at /docs/", len(pages))
	}
	for path, page := range pages {
		for _, unwanted := range []string{"<script", "<img", "style=", "<style", "<iframe"} {
			if strings.Contains(page, unwanted) {
				t.Errorf("%s has %s", path, unwanted)
			}
		}
		base := &url.URL{Path: path}
		for _, m := range linkInPage.FindAllStringSubmatch(page, -1) {
			link, err := base.Parse(m[1])
			switch {
			case err != nil || strings.HasPrefix(m[1], "/"):
				t.Errorf("%s: got the link %s, want a relative one", path, m[1])
			case link.Host != "" || link.Path == "/docs/api": // the API's page is of httpapi
			case pages[link.Path] == "":
				t.Errorf("%s: the link to %s leads nowhere", path, m[1])
			case link.Fragment != "" && !ids[link.Path+"#"+link.Fragment]:
				t.Errorf("%s: the link to %s leads to no place on that page", path, m[1])
			}
		}
	}
}

func TestDocumentsRedirect(t *testing.T) {
	t.Parallel()
	res := ask(http.MethodGet, "/docs")
	if got, want := res.Header.Get("Location"), "docs/"; res.StatusCode != http.StatusFound || got != want {
		t.Errorf("got status %d and Location %q, want 302 and %q, which works below any prefix", res.StatusCode, got, want)
	}
	for path, want := range map[string]string{
		"/docs/recipes/": "../recipes", "/docs/FAQ.md": "faq", "/docs/UPGRADING": "upgrading", "/docs/faq//": "../../faq",
		"/docs/recipes/go.md": "../recipes-go", "/docs/recipes/README.md": "../recipes", "/docs/recipes%2Fgo": "recipes-go",
	} {
		res := ask(http.MethodGet, path)
		if got := res.Header.Get("Location"); res.StatusCode != http.StatusFound || got != want {
			t.Errorf("%s: got status %d and Location %q, want 302 and %q", path, res.StatusCode, got, want)
		}
	}
	for _, path := range []string{"/docs/none", "/docs/none/", "/docs//", "/docs/.md", "/docs/index", "/docs/operations.html", "/docs/generate/main.go"} {
		if got := ask(http.MethodGet, path).StatusCode; got != http.StatusNotFound {
			t.Errorf("%s: got status %d, want 404", path, got)
		}
	}
}
