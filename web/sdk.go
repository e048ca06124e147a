package web

import (
	"embed"
	"net/http"
	"path"
)

//go:embed client/dist/taskfeed.js client/dist/share.js
var clientBuild embed.FS

// sdkPath is where pages of any site find the browser client that fits this
// server: taskfeed.js for a script tag, and share.js, which that loads when a
// page asks for a shared connection.
const sdkPath = "/sdk/"

// loadSDK returns the client's files by URL path.
func loadSDK() map[string]*file {
	files := make(map[string]*file)
	walk(clientBuild, func(name string, body []byte) {
		files[sdkPath+path.Base(name)] = newFile(name, askEachTime, body)
	})
	return files
}

// forEverybody lets pages of other sites load what is not secret, also with an
// integrity attribute and as a module, which both need CORS.
func forEverybody(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
}
