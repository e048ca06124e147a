package web

import (
	"bytes"
	"embed"
	"io/fs"
	"net/http"
	"strings"
)

//go:embed all:console/dist
var consoleBuild embed.FS

const consolePath = "/console"

// consolePolicy also allows the console's page a base element within its own server.
var consolePolicy = strings.Replace(policy, "base-uri 'none'", "base-uri 'self'", 1)

// console serves the console. The script in its page routes the URLs of the screens, so
// the same page is the answer to all of them.
type console struct {
	files map[string]*file // by path below /console/
	page  []byte
}

const (
	consolePage   = "index.html"
	consoleAssets = "assets/" // files whose names have the hash of their content
	baseElement   = `<base href="./">`
	rootElement   = `<html lang="en">`
)

// newConsole returns the console for servers whose callers show tokens, or of an app
// that has sessions of its own.
func newConsole(byApp bool) *console {
	c := &console{files: make(map[string]*file)}
	build, err := fs.Sub(consoleBuild, "console/dist")
	if err != nil {
		panic(err) // the name is a constant and valid
	}
	walk(build, func(name string, body []byte) {
		switch {
		case name == consolePage:
			c.page = body
			if byApp {
				c.page = bytes.Replace(body, []byte(rootElement), []byte(rootElement[:len(rootElement)-1]+` data-sessions="app">`), 1)
			}
		case strings.HasPrefix(name, consoleAssets):
			c.files[name] = newFile(name, forGood, body)
		default:
			c.files[name] = newFile(name, askEachTime, body)
		}
	})
	return c
}

func (c *console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", consolePolicy)
	name, below := strings.CutPrefix(r.URL.Path, consolePath+"/")
	f, found := c.files[name]
	switch {
	case !below:
		c.redirect(w, r)
	case found:
		f.serve(w, r)
	case isScreen(r, name):
		newFile(consolePage, askEachTime, c.pageAt(r)).serve(w, r)
	default:
		notFound(w)
	}
}

// redirect adds the trailing slash that relative URLs need. The location is relative,
// because only the browser knows the full path.
func (c *console) redirect(w http.ResponseWriter, r *http.Request) {
	location := strings.TrimPrefix(consolePath, "/") + "/"
	if r.URL.RawQuery != "" {
		location += "?" + r.URL.RawQuery
	}
	redirect(w, location)
}

// isScreen reports whether a request opens a screen of the console. Otherwise it is for
// a missing file, perhaps of another build.
func isScreen(r *http.Request, name string) bool {
	if name == "" {
		return true
	}
	return !strings.HasPrefix(name, consoleAssets) && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// pageAt returns the page with a base element that leads from the request's path to
// /console/, below any path prefix.
func (c *console) pageAt(r *http.Request) []byte {
	below := strings.TrimPrefix(r.URL.EscapedPath(), consolePath+"/")
	up := strings.Repeat("../", strings.Count(below, "/"))
	if up == "" {
		return c.page
	}
	return bytes.Replace(c.page, []byte(baseElement), []byte(`<base href="`+up+`">`), 1)
}
