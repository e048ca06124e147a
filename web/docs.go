package web

import (
	"embed"
	"net/http"
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

// toDocs adds the slash that relative links need, for the browser, which alone knows the
// full path.
func toDocs(w http.ResponseWriter) {
	w.Header().Set("Location", strings.TrimPrefix(docsPath, "/")+"/")
	w.Header().Set("Cache-Control", askEachTime)
	w.WriteHeader(http.StatusFound)
}
