package request

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/taskfeed/taskfeed"
)

// Queries are read in this file and nowhere else: what net/url leaves out
// without a word, it refuses. A cursor that nobody read would be a silent hole.

var errQuery = &taskfeed.Error{Code: taskfeed.CodeBadRequest,
	Message: "the query cannot be read: write it as name=value&name=value in UTF-8 and escape all other characters by %"}

var errTucked = &taskfeed.Error{Code: taskfeed.CodeBadRequest,
	Message: "the query holds a parameter within another: one ? begins it, and & alone stands between its parameters; within a value escape neither twice"}

// tucked is a parameter of a feed within the value of another: what becomes of it
// where somebody puts ?after=… behind a URL that has a query, or takes a URL out of
// HTML as it stands there.
var tucked = regexp.MustCompile(`(?i)[?&;#](amp;|#38;)*(after|token|types|task_?id|user_?id|all|last_?event_?id)=`)

// misplaced is what no name of a parameter holds, but one that began too late or
// too early.
var misplaced = regexp.MustCompile(`(?i)[?&;]|^(amp|#38)$`)

// ParseQuery reads a query to its end, or refuses it. net/url says no when it
// meets a semicolon or a bad escape, and yet returns the rest.
func ParseQuery(raw string) (url.Values, error) {
	values, err := url.ParseQuery(raw)
	if err != nil || strings.Contains(raw, "#") { // a fragment is not for servers
		return nil, errQuery
	}
	for name := range values {
		if name == "" || strings.ContainsFunc(name, isControl) || !utf8.ValidString(name) {
			return nil, errQuery
		}
		if holds(misplaced, name) {
			return nil, errTucked
		}
		for _, value := range values[name] {
			if holds(tucked, value) {
				return nil, errTucked
			}
		}
	}
	return values, nil
}

// maxEscaped is how often somebody may have escaped what should not be.
const maxEscaped = 3

// holds reports whether the text matches, as it is or escaped.
func holds(what *regexp.Regexp, text string) bool {
	for range maxEscaped {
		if what.MatchString(text) {
			return true
		}
		plain, err := url.QueryUnescape(text)
		if err != nil || plain == text {
			return false
		}
		text = plain
	}
	return what.MatchString(text)
}

// Query returns the parameters of a request that withReadableQuery let pass.
func Query(r *http.Request) url.Values {
	values, _ := ParseQuery(r.URL.RawQuery) // it can be read
	return values
}

// IgnoreUnread lets parameters pass that nobody read, as feeds do, but for those
// that are meant to be known: After, taskId or after[]. It returns the refusal of
// all faults, or nil.
func (p *Params) IgnoreUnread() error {
	for _, name := range p.unread() {
		for _, known := range p.known {
			if looksLike(name, known) {
				p.Refuse(repeatable(name), "this URL knows the parameter %s, which is written in just that way", known)
			}
		}
	}
	return p.Refusal()
}

// looksLike reports whether a name, or a part of it that stands by itself, is a
// known one but for its case and its signs: After, after[], x[after], after%3D0.
func looksLike(name, known string) bool {
	for range maxEscaped {
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
	}
	if letters(name) == letters(known) {
		return true
	}
	parts := strings.FieldsFunc(name, func(r rune) bool {
		return r != '_' && r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	return slices.ContainsFunc(parts, func(part string) bool { return letters(part) == letters(known) })
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
