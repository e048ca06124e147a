// Package web serves the files for browsers: a welcome page at /, one user's tasks live
// at /demo, the console at /console, the project's documents at /docs, and the client for
// other pages at /sdk/.
//
// Everything is embedded, and served with a content security policy that allows nothing
// else. The pages at / and /demo are plain files, of which /demo uses the client from
// /sdk/. "make web" builds the console and the client, "go generate ./web" renders the
// documents; their results are committed. All pages use only what docs/PROTOCOL.md and the OpenAPI document describe, like any other
// client.
//
// All URLs in the pages are relative, so that they work below any path prefix that a
// proxy removes. The package checks no token: the pages contain nothing secret.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

//go:embed index.html demo.html static
var content embed.FS

// policy allows a page only scripts, styles, images and connections of its own server.
// No script may turn text into markup.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// file is one embedded file, ready to be served.
type file struct {
	kind  string // the Content-Type
	cache string // the Cache-Control
	etag  string
	body  []byte
	small func() []byte // returns the compressed body; nil for small files
}

// kinds are the media types of the embedded files. The tables of the operating system
// differ between machines.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
}

// Cache-Control values. Browsers revalidate most files each time, by their ETag, so that
// page and script are always of the same build. A file whose name has the hash of its
// content never changes.
const (
	askEachTime = "no-cache"
	forGood     = "public, max-age=31536000, immutable"
)

// Handler serves /, /demo, /console and /docs with the paths below them, the files of
// these pages below /static/, and the client below /sdk/. It answers GET and HEAD, other methods
// with 405 and other paths with 404. With byApp the console asks nobody for a token, and
// there is no /demo, which needs one, because the app that the server is part of says who
// sends a request. It is safe for concurrent use.
func Handler(byApp bool) http.Handler {
	files, sdk, docs := load(), loadSDK(), loadDocs()
	if byApp {
		withoutTokens(files)
	}
	maps.Copy(files, sdk)
	maps.Copy(files, docs)
	app := newConsole(byApp)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		f, found := files[r.URL.Path]
		document := documentAt(docs, r.URL)
		inConsole := r.URL.Path == consolePath || strings.HasPrefix(r.URL.Path, consolePath+"/")
		switch {
		case !found && !inConsole && document == "":
			notFound(w)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "this URL answers to GET and HEAD", http.StatusMethodNotAllowed)
		case inConsole:
			app.ServeHTTP(w, r)
		case document != "":
			redirect(w, document)
		case docs[r.URL.Path] != nil:
			w.Header().Set("Content-Security-Policy", docsPolicy)
			f.serve(w, r)
		case sdk[r.URL.Path] != nil:
			forEverybody(w.Header())
			f.serve(w, r)
		default:
			f.serve(w, r)
		}
	})
}

func notFound(w http.ResponseWriter) {
	http.Error(w, "there is nothing at this URL", http.StatusNotFound)
}

// secure sets the headers of every answer.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
}

// serve answers with the file, compressed if the browser accepts that.
func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", f.cache)
	h.Set("Content-Type", f.kind)
	body, tag := f.body, f.etag
	if f.small != nil {
		h.Add("Vary", "Accept-Encoding")
		if takesGzip(r) {
			h.Set("Content-Encoding", "gzip")
			body, tag = f.small(), strings.TrimSuffix(tag, `"`)+`-gzip"`
		}
	}
	h.Set("ETag", tag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// takesGzip reports whether the request's Accept-Encoding names gzip and does
// not refuse it.
func takesGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, weight, _ := strings.Cut(strings.ReplaceAll(part, " ", ""), ";")
		if strings.EqualFold(name, "gzip") {
			return strings.Trim(strings.TrimPrefix(weight, "q="), "0.") != "" || weight == ""
		}
	}
	return false
}

// minCompressed is the minimum size of files that are sent compressed.
const minCompressed = 1 << 10

func newFile(name, cache string, body []byte) *file {
	f := &file{kind: kinds[path.Ext(name)], cache: cache, etag: etag(body), body: body}
	if len(body) >= minCompressed {
		f.small = sync.OnceValue(func() []byte { return compress(body) })
	}
	return f
}

// compress cannot fail: it writes to memory.
func compress(body []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	_, _ = w.Write(body)
	_ = w.Close()
	return b.Bytes()
}

// load returns the embedded pages and their files by URL path.
func load() map[string]*file {
	files := make(map[string]*file)
	walk(content, func(name string, body []byte) {
		files[urlPath(name)] = newFile(name, askEachTime, body)
	})
	return files
}

// tokensInWelcome are the parts of the welcome page that are about tokens, and what
// stands there where an app says who sends a request.
var tokensInWelcome = map[string]string{
	`; needs a token</span>`: `, for whoever is signed in to this app</span>`,
	`    <li class="row"><a href="demo">Demo page</a> <span class="quiet">one user's tasks, live, in plain JavaScript with the browser client</span></li>` + "\n": "",
	`<script src="static/welcome.js"></script>` + "\n": "",
}

// withoutTokens takes away what asks for a token.
func withoutTokens(files map[string]*file) {
	page := files["/"].body
	for old, now := range tokensInWelcome {
		page = bytes.Replace(page, []byte(old), []byte(now), 1)
	}
	files["/"] = newFile("index.html", askEachTime, page)
	for _, path := range []string{"/demo", "/static/page.js", "/static/welcome.js"} {
		delete(files, path)
	}
}

// walk calls visit for every file. The files are embedded, so an error is a fault of the
// program.
func walk(files fs.FS, visit func(name string, body []byte)) {
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := fs.ReadFile(files, name)
		visit(name, body)
		return err
	})
	if err != nil {
		panic(err)
	}
}

// urlPath returns the URL path of a file: that of a page has no extension.
func urlPath(name string) string {
	if name == "index.html" {
		return "/"
	}
	return "/" + strings.TrimSuffix(name, ".html")
}

func etag(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}
