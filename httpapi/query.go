package httpapi

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
)

// Queries are read in this file and nowhere else: what net/url leaves out
// without a word, it refuses. A cursor that nobody read would be a silent hole.

var errQuery = &taskfeed.Error{Code: taskfeed.CodeBadRequest,
	Message: "the query cannot be read: write it as name=value&name=value in UTF-8 and escape all other characters by %"}

// parseQuery reads a query to its end, or refuses it. net/url says no when it
// meets a semicolon or a bad escape, and yet returns the rest.
func parseQuery(raw string) (url.Values, error) {
	values, err := url.ParseQuery(raw)
	if err != nil || strings.Contains(raw, "#") { // a fragment is not for servers
		return nil, errQuery
	}
	for name := range values {
		if name == "" || strings.ContainsFunc(name, isControl) || !utf8.ValidString(name) {
			return nil, errQuery
		}
	}
	return values, nil
}

// query returns the parameters of a request that withReadableQuery let pass.
func query(r *http.Request) url.Values {
	values, _ := parseQuery(r.URL.RawQuery) // it can be read
	return values
}

// withReadableQuery refuses, at every URL, a query that cannot be read to its
// end.
func (s *Server) withReadableQuery(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if _, err := parseQuery(c.Request().URL.RawQuery); err != nil {
			if c.Path() == pathSocket || c.Path() == pathSocketQuery || c.Path() == pathStream {
				s.metrics.refused(err)
			}
			return err
		}
		return next(c)
	}
}

// ignoreUnread lets parameters pass that nobody read, as feeds do, but for those
// that are meant to be known: After, taskId or after[]. It returns the refusal of
// all faults, or nil.
func (p *params) ignoreUnread() error {
	for _, name := range p.unread() {
		for _, known := range p.known {
			if letters(name) == letters(known) {
				p.refuse(repeatable(name), "this URL knows the parameter %s, which is written in just that way", known)
			}
		}
	}
	return p.refusal()
}

// letters is what remains of a name when only its letters count.
func letters(name string) string {
	return strings.Map(func(r rune) rune {
		if r < 'a' || r > 'z' {
			return -1
		}
		return r
	}, strings.ToLower(name))
}
