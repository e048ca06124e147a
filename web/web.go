// Package web is the page at /: one user's tasks, live, in a browser.
//
// It is plain HTML, one script and one style sheet, embedded as they stand and
// served with a policy that lets nothing else run. The script reads the feed
// like any other client and knows nothing that docs/PROTOCOL.md does not say.
//
// The page is for trying things out and for looking on. It keeps the token in
// the tab's session storage and shows at most the 100 latest tasks; it is not an
// app, and it changes nothing in the database.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io/fs"
	"net/http"
	"path"
	"time"
)

//go:embed index.html static
var content embed.FS

// policy lets the page load its own script, style and icon and open its own
// feed, and nothing else. The script may not make markup of text.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// file is one embedded file as it is served.
type file struct {
	kind string // the Content-Type
	etag string
	body []byte
}

// kinds are the media types of the embedded files; those of the system's tables
// differ from machine to machine.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// Handler serves the page at / and its files below /static/. It answers GET and
// HEAD, 405 to other methods and 404 at other paths. It is safe for concurrent
// use.
func Handler() http.Handler {
	files := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		f, ok := files[r.URL.Path]
		switch {
		case !ok:
			http.Error(w, "there is nothing at this URL", http.StatusNotFound)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "this URL answers to GET and HEAD", http.StatusMethodNotAllowed)
		default:
			f.serve(w, r)
		}
	})
}

// secure sets the headers of every answer.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
}

// serve answers with the file. Browsers keep it and ask each time whether it is
// still the same, so that page and script are always of one build.
func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Type", f.kind)
	h.Set("ETag", f.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
}

// load returns the embedded files by URL path. What is embedded is fixed when
// the program is built, so a fault here is one of the program.
func load() map[string]*file {
	files := make(map[string]*file)
	err := fs.WalkDir(content, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := content.ReadFile(name)
		files[urlPath(name)] = &file{kind: kinds[path.Ext(name)], etag: etag(body), body: body}
		return err
	})
	if err != nil {
		panic(err)
	}
	return files
}

func urlPath(name string) string {
	if name == "index.html" {
		return "/"
	}
	return "/" + name
}

func etag(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}
