package web

import (
	"embed"
	"net/http"
	"path"
)

//go:embed client/dist/taskfeed.js client/dist/share.js
var clientBuild embed.FS

// sdkPath is the path of the browser client of this server's version, for pages of any
// site: taskfeed.js for a script tag, and share.js, which taskfeed.js loads when a page
// uses a shared connection.
const sdkPath = "/sdk/"

// loadSDK returns the client's files by URL path.
func loadSDK() map[string]*file {
	files := make(map[string]*file)
	walk(clientBuild, func(name string, body []byte) {
		files[sdkPath+path.Base(name)] = newFile(name, askEachTime, body)
	})
	return files
}

// forEverybody allows pages of other sites to load a file, also with an integrity
// attribute and as a module, which both need CORS.
func forEverybody(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
}
