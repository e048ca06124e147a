package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/history"
)

const (
	defaultLimit = 50
	maxLimit     = history.MaxPageLimit
	maxText      = 255 // bytes, as ids have in the schema
	maxListed    = 50  // values of a parameter that may stand more than once
)

// fieldError says what is wrong with one parameter.
type fieldError struct {
	Field  string `json:"field"` // empty when its name is not fit to be repeated
	Detail string `json:"detail"`
}

// badParams is a refusal that names each parameter that is wrong.
type badParams struct {
	refusal *taskfeed.Error
	fields  []fieldError
}

func (e *badParams) Error() string { return e.refusal.Error() }

// Unwrap shows the code.
func (e *badParams) Unwrap() error { return e.refusal }

// params reads the query of a request. What a handler reads is what it knows:
// err refuses all else. No refusal repeats a value.
type params struct {
	values url.Values
	known  []string
	faults []fieldError
}

func readParams(r *http.Request) (*params, error) {
	values, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	return &params{values: values}, nil
}

// refuse notes a fault.
func (p *params) refuse(field, format string, args ...any) {
	p.faults = append(p.faults, fieldError{field, fmt.Sprintf(format, args...)})
}

// err returns the refusal of all faults and of all parameters that were not
// read, or nil.
func (p *params) err() error {
	p.refuseUnread()
	return p.refusal()
}

func (p *params) refuseUnread() {
	if unknown := p.unread(); len(unknown) > 0 {
		known := "it takes none"
		if len(p.known) > 0 {
			known = "it knows " + strings.Join(p.known, ", ")
		}
		for _, name := range unknown[:min(len(unknown), maxListed)] {
			p.refuse(repeatable(name), "this URL does not know the parameter; %s", known)
		}
	}
}

// refusal returns the refusal of all faults so far, or nil.
func (p *params) refusal() error {
	if len(p.faults) == 0 {
		return nil
	}
	first := p.faults[0]
	message := first.Detail
	if first.Field != "" {
		message = first.Field + ": " + message
	}
	return &badParams{&taskfeed.Error{Code: taskfeed.CodeBadRequest, Message: message}, p.faults}
}

func (p *params) unread() []string {
	var names []string
	for name := range p.values {
		if !slices.Contains(p.known, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

var paramName = regexp.MustCompile(`^[a-z_]{1,32}$`)

// repeatable returns the name of a parameter if it may be shown: a stranger's
// query may hold anything.
func repeatable(name string) string {
	if paramName.MatchString(name) {
		return name
	}
	return ""
}

// one returns the value of a parameter that may stand once.
func (p *params) one(name string) (value string, ok bool) {
	p.known = append(p.known, name)
	values := p.values[name]
	switch {
	case len(values) == 0:
		return "", false
	case len(values) > 1:
		p.refuse(name, "stands more than once")
		return "", false
	case values[0] == "":
		p.refuse(name, "is empty; leave it out")
		return "", false
	}
	return values[0], true
}

// text returns an id or any other text to compare with.
func (p *params) text(name string) string {
	value, ok := p.one(name)
	if ok && !plainText(value) {
		p.refuse(name, textRule)
	}
	return value
}

const textRule = "must be text of at most 255 bytes without control characters"

// plainText reports whether the database can compare a column with s.
func plainText(s string) bool {
	return len(s) <= maxText && utf8.ValidString(s) && !strings.ContainsFunc(s, isControl)
}

// isControl reports whether the schema keeps the character out of ids.
func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

// list returns the values of a parameter that may stand more than once and hold
// several values separated by commas.
func (p *params) list(name string) []string {
	p.known = append(p.known, name)
	var list []string
	for _, values := range p.values[name] {
		for value := range strings.SplitSeq(values, ",") {
			if len(list) == maxListed {
				p.refuse(name, "has more than %d values", maxListed)
				return nil
			}
			if value = strings.TrimSpace(value); value == "" {
				p.refuse(name, "has an empty value; leave it out")
				return nil
			}
			list = append(list, value)
		}
	}
	return list
}

func (p *params) statuses(name string) []taskfeed.Status {
	var statuses []taskfeed.Status
	for _, value := range p.list(name) {
		if !slices.Contains(taskfeed.Statuses, taskfeed.Status(value)) {
			p.refuse(name, "must be one of %s", joined(taskfeed.Statuses))
			return nil
		}
		statuses = append(statuses, taskfeed.Status(value))
	}
	return statuses
}

// types reads types of events: those of tasks or an app's own. One that no event
// can have would select nothing, without a word.
func (p *params) types(name string) []taskfeed.Type {
	var types []taskfeed.Type
	for _, value := range p.list(name) {
		t := taskfeed.Type(value)
		ours := strings.HasPrefix(value, "task_") || strings.HasPrefix(value, "feed_")
		if !t.Valid() || ours && !slices.Contains(taskfeed.TaskTypes, t) {
			p.refuse(name, "must be %s, or a type of the app's own: a letter, then letters, digits and _ . : -, 64 at most", joined(taskfeed.TaskTypes))
			return nil
		}
		types = append(types, t)
	}
	return types
}

func joined[S ~string](values []S) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = string(v)
	}
	return strings.Join(texts, ", ")
}

// sort returns the order, the first of those allowed by default.
func (p *params) sort(allowed ...history.Sort) history.Sort {
	value, ok := p.one("sort")
	switch {
	case !ok:
		return allowed[0]
	case !slices.Contains(allowed, history.Sort(value)):
		p.refuse("sort", "must be one of %s", joined(allowed))
	}
	return history.Sort(value)
}

// limit returns how many items a page has.
func (p *params) limit() int {
	value, ok := p.one("limit")
	if !ok {
		return defaultLimit
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > maxLimit {
		p.refuse("limit", "must be a whole number from 1 to %d", maxLimit)
	}
	return n
}

// maxToken bounds what may stand in after.
const maxToken = 1024

// after returns where a page begins: the next of the page before.
func (p *params) after() string {
	value, ok := p.one("after")
	if ok && (len(value) > maxToken || !utf8.ValidString(value) || strings.ContainsFunc(value, isControl)) {
		p.refuse("after", "must be the next of the page before")
	}
	return value
}

// flag returns a parameter that is true or false.
func (p *params) flag(name string) bool {
	value, ok := p.one(name)
	if ok && value != "true" && value != "false" {
		p.refuse(name, "must be true or false")
	}
	return value == "true"
}

// span returns the time from one parameter, included, to another, excluded.
func (p *params) span(from, to string) history.TimeRange {
	r := history.TimeRange{From: p.time(from), To: p.time(to)}
	if !r.From.IsZero() && !r.To.IsZero() && r.From.After(r.To) {
		p.refuse(from, "is later than %s", to)
	}
	return r
}

// No row is older than taskfeed, and a year far ahead is a slip of the pen.
const (
	minYear = 1970
	maxYear = 2199
)

func (p *params) time(name string) time.Time {
	value, ok := p.one(name)
	if !ok {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, value)
	if err != nil {
		hint := ""
		if strings.Contains(value, " ") {
			hint = "; a + is written as %2B"
		}
		p.refuse(name, "must be a time as 2026-11-22T10:00:00Z or 2026-11-22T10:00:00+01:00 (RFC 3339)%s", hint)
		return time.Time{}
	}
	if t = t.UTC(); t.Year() < minYear || t.Year() > maxYear {
		p.refuse(name, "must lie between the years %d and %d", minYear, maxYear)
	}
	return t
}

// duration returns a span of time from one second to a year.
func (p *params) duration(name string, byDefault time.Duration) time.Duration {
	value, ok := p.one(name)
	if !ok {
		return byDefault
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < time.Second || d > 365*24*time.Hour {
		p.refuse(name, "must be a duration with a unit, such as 90s, 15m or 12h, from one second to a year")
	}
	return d
}

// idOf returns the id that a request is about: from its path, or from the
// parameter of that name where its path has none.
func idOf(c echo.Context, p *params, name string) (string, error) {
	if slices.Contains(c.ParamNames(), name) {
		return pathText(c, name)
	}
	value, faults := p.text(name), len(p.faults)
	if value == "" && faults == 0 {
		p.refuse(name, "is missing; it says which one is meant")
	}
	return value, p.refusal()
}

// readID reads a request that takes an id and nothing else.
func readID(c echo.Context, name string) (string, error) {
	p, err := readParams(c.Request())
	if err != nil {
		return "", err
	}
	id, err := idOf(c, p, name)
	if err == nil {
		err = p.err()
	}
	return id, err
}

// pathText returns an id that stands in the path.
func pathText(c echo.Context, name string) (string, error) {
	value := pathParam(c, name)
	if !plainText(value) || value == "" {
		return "", &badParams{
			&taskfeed.Error{Code: taskfeed.CodeBadRequest, Message: "the id in the path " + textRule},
			[]fieldError{{name, textRule}},
		}
	}
	return value, nil
}
