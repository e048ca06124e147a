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

// Queries are parsed in this file alone, because net/url silently drops what it cannot
// parse. A cursor lost that way would silently lose events.

var errQuery = &taskfeed.Error{Code: taskfeed.CodeBadRequest,
	Message: "the query cannot be read: write it as name=value&name=value in UTF-8 and escape all other characters by %"}

var errNestedParam = &taskfeed.Error{Code: taskfeed.CodeBadRequest,
	Message: "the query holds a parameter within another: one ? begins it, and & alone stands between its parameters; within a value escape neither twice"}

// nestedParam matches a parameter of a feed inside the value of another. It comes from
// appending ?after=… to a URL that already has a query, or from copying a URL out of
// HTML with its &amp;.
var nestedParam = regexp.MustCompile(`(?i)[?&;#](amp;|#38;)*(after|token|types|task_?id|user_?id|all|last_?event_?id)=`)

// separatorInName matches a separator inside the name of a parameter: the name began
// too early or ended too late.
var separatorInName = regexp.MustCompile(`(?i)[?&;]|^(amp|#38)$`)

// ParseQuery parses a whole query or refuses it. net/url reports an error for a
// semicolon or a bad escape, but still returns the other parameters.
func ParseQuery(raw string) (url.Values, error) {
	values, err := url.ParseQuery(raw)
	if err != nil || strings.Contains(raw, "#") { // a fragment is not for servers
		return nil, errQuery
	}
	for name := range values {
		if name == "" || strings.ContainsFunc(name, isControl) || !utf8.ValidString(name) {
			return nil, errQuery
		}
		if matchesEscaped(separatorInName, name) {
			return nil, errNestedParam
		}
		for _, value := range values[name] {
			if matchesEscaped(nestedParam, value) {
				return nil, errNestedParam
			}
		}
	}
	return values, nil
}

// maxEscaped is how many times text may be percent-encoded and still be recognized.
const maxEscaped = 3

// matchesEscaped reports whether the text matches as it is or percent-decoded, up to
// maxEscaped times.
func matchesEscaped(what *regexp.Regexp, text string) bool {
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

// Query returns the parameters of a request whose query can be parsed, as that of
// every request that reaches a handler.
func Query(r *http.Request) url.Values {
	values, _ := ParseQuery(r.URL.RawQuery) // the middleware has refused others
	return values
}

// IgnoreUnread ignores parameters that were not read, as feeds do, except those that
// look like a known one: After, taskId or after[]. It returns the refusal of all
// faults, or nil.
func (p *Params) IgnoreUnread() error {
	for _, name := range p.unread() {
		for _, known := range p.known {
			if looksLike(name, known) {
				p.Refuse(repeatable(name), "this URL knows the parameter %s, which is written in just that way", known)
			}
		}
	}
	return p.refusal()
}

// looksLike reports whether a name, or a part of it that stands by itself, is a
// known one but for its case, its number and its signs: After, feeds, after[], x[after],
// after%3D0.
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

// letters is what remains of a name when only its letters count, and one and many are
// the same.
func letters(name string) string {
	only := strings.Map(func(r rune) rune {
		if r < 'a' || r > 'z' {
			return -1
		}
		return r
	}, strings.ToLower(name))
	return strings.TrimSuffix(only, "s")
}
