package web

import (
	"embed"
	"net/http"
	"net/url"
	"strings"
)

// The pages are made of the project's Markdown files.
//
//go:generate go run ./docs/generate
//go:embed docs/*.html docs/docs.css
var documents embed.FS

const docsPath = "/docs"

// docsPolicy allows a document nothing but its style sheet.
const docsPolicy = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// loadDocs returns the pages of the documents by URL path. Their links are relative, so
// the index is at /docs/.
func loadDocs() map[string]*file {
	files := make(map[string]*file)
	walk(documents, func(name string, body []byte) {
		path := "/" + strings.TrimSuffix(name, ".html")
		if path == docsPath+"/index" {
			path = docsPath + "/"
		}
		files[path] = newFile(name, askEachTime, body)
	})
	return files
}

// documentAt returns where the document is that a path names in another way: as the file
// is called, in other case, or with a slash at its end. The location is relative, because
// only the browser knows the full path. It returns "" for all other paths.
func documentAt(docs map[string]*file, u *url.URL) string {
	if u.Path == docsPath {
		return strings.TrimPrefix(docsPath, "/") + "/" // the slash that relative links need
	}
	below, found := strings.CutPrefix(u.Path, docsPath+"/")
	name := strings.ToLower(strings.TrimRight(below, "/"))
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".md"), "/readme")
	name = strings.ReplaceAll(name, "/", "-")
	if !found || name == "" || name == below || docs[docsPath+"/"+name] == nil {
		return ""
	}
	up := strings.Count(strings.TrimPrefix(u.EscapedPath(), docsPath+"/"), "/")
	return strings.Repeat("../", up) + name
}

func redirect(w http.ResponseWriter, location string) {
	w.Header().Set("Location", location)
	w.Header().Set("Cache-Control", askEachTime)
	w.WriteHeader(http.StatusFound)
}
