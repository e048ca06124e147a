package request

import (
	"fmt"
	"iter"
	"maps"
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
)

const (
	defaultLimit = 50
	maxListed    = 50 // values of a parameter that may stand more than once
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

// BadParam returns the refusal as one of a single parameter.
func BadParam(refusal *taskfeed.Error, field, detail string) error {
	return &badParams{refusal, []fieldError{{field, detail}}}
}

// Params reads the query of a request. The parameters that a handler reads are the
// ones it knows; Done refuses all others. No refusal repeats a value.
type Params struct {
	values url.Values
	known  []string
	faults []fieldError
}

func ReadParams(r *http.Request) (*Params, error) {
	values, err := ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	return &Params{values: values}, nil
}

// Know marks parameters as known that other code reads.
func (p *Params) Know(names ...string) { p.known = append(p.known, names...) }

// Names yields the names of the parameters that the request has.
func (p *Params) Names() iter.Seq[string] { return maps.Keys(p.values) }

// Refuse records what is wrong with a parameter.
func (p *Params) Refuse(field, format string, args ...any) {
	p.faults = append(p.faults, fieldError{field, fmt.Sprintf(format, args...)})
}

// Done returns the refusal of all faults and of all parameters that were not
// read, or nil.
func (p *Params) Done() error {
	p.refuseUnread()
	return p.refusal()
}

func (p *Params) refuseUnread() {
	if unknown := p.unread(); len(unknown) > 0 {
		known := "it takes none"
		if len(p.known) > 0 {
			known = "it knows " + strings.Join(p.known, ", ")
		}
		for _, name := range unknown[:min(len(unknown), maxListed)] {
			p.Refuse(repeatable(name), "this URL does not know the parameter; %s", known)
		}
	}
}

// refusal returns the refusal of all faults so far, or nil.
func (p *Params) refusal() error {
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

func (p *Params) unread() []string {
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

// repeatable returns the name of a parameter if a refusal may repeat it, otherwise
// nothing: a query from outside may hold anything.
func repeatable(name string) string {
	if paramName.MatchString(name) {
		return name
	}
	return ""
}

// One returns the value of a parameter that may be given once.
func (p *Params) One(name string) (value string, ok bool) {
	p.known = append(p.known, name)
	values := p.values[name]
	switch {
	case len(values) == 0:
		return "", false
	case len(values) > 1:
		p.Refuse(name, "stands more than once")
		return "", false
	case values[0] == "":
		p.Refuse(name, "is empty; leave it out")
		return "", false
	}
	return values[0], true
}

// Text returns an id or any other text to compare with.
func (p *Params) Text(name string) string {
	value, ok := p.One(name)
	if ok && !plainText(value) {
		p.Refuse(name, textRule)
	}
	return value
}

const textRule = "must be text of at most 255 bytes without control characters"

// plainText reports whether the database can compare a column with s.
func plainText(s string) bool {
	return s == "" || utf8.ValidString(s) && taskfeed.ValidID(s)
}

// isControl reports whether the schema keeps the character out of ids.
func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

// list returns the values of a parameter that may be given more than once and hold
// several values separated by commas.
func (p *Params) list(name string) []string {
	p.known = append(p.known, name)
	var list []string
	for _, values := range p.values[name] {
		for value := range strings.SplitSeq(values, ",") {
			if len(list) == maxListed {
				p.Refuse(name, "has more than %d values", maxListed)
				return nil
			}
			if value = strings.TrimSpace(value); value == "" {
				p.Refuse(name, "has an empty value; leave it out")
				return nil
			}
			list = append(list, value)
		}
	}
	return list
}

func (p *Params) Statuses(name string) []taskfeed.Status {
	var statuses []taskfeed.Status
	for _, value := range p.list(name) {
		if !slices.Contains(taskfeed.Statuses, taskfeed.Status(value)) {
			p.Refuse(name, "must be one of %s", joined(taskfeed.Statuses))
			return nil
		}
		statuses = append(statuses, taskfeed.Status(value))
	}
	return statuses
}

// Types reads types of events: those of tasks or an app's own. It refuses a
// type that no event can have, because that would silently select nothing.
func (p *Params) Types(name string) []taskfeed.Type {
	var types []taskfeed.Type
	for _, value := range p.list(name) {
		t := taskfeed.Type(value)
		ours := strings.HasPrefix(value, "task_") || strings.HasPrefix(value, "feed_")
		if !t.Valid() || ours && !slices.Contains(taskfeed.TaskTypes, t) {
			p.Refuse(name, "must be %s, or a type of the app's own: a letter, then letters, digits and _ . : -, 64 at most", joined(taskfeed.TaskTypes))
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

// OneOf returns a parameter that has one of the values allowed, by default the first.
func OneOf[S ~string](p *Params, name string, allowed ...S) S {
	value, ok := p.One(name)
	switch {
	case !ok:
		return allowed[0]
	case !slices.Contains(allowed, S(value)):
		p.Refuse(name, "must be one of %s", joined(allowed))
	}
	return S(value)
}

// Limit returns how many items a page has.
func (p *Params) Limit(most int) int {
	value, ok := p.One("limit")
	if !ok {
		return defaultLimit
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > most {
		p.Refuse("limit", "must be a whole number from 1 to %d", most)
	}
	return n
}

// maxToken is the greatest length of the parameter after.
const maxToken = 1024

// After returns where a page begins: the next of the page before.
func (p *Params) After() string {
	value, ok := p.One("after")
	if ok && (len(value) > maxToken || !utf8.ValidString(value) || strings.ContainsFunc(value, isControl)) {
		p.Refuse("after", "must be the next of the page before")
	}
	return value
}

// Flag returns a parameter that is true or false.
func (p *Params) Flag(name string) bool {
	value, ok := p.One(name)
	if ok && value != "true" && value != "false" {
		p.Refuse(name, "must be true or false")
	}
	return value == "true"
}

// Span returns the time from one parameter, included, to another, excluded.
func (p *Params) Span(from, to string) (begin, end time.Time) {
	begin, end = p.time(from), p.time(to)
	if !begin.IsZero() && !end.IsZero() && begin.After(end) {
		p.Refuse(from, "is later than %s", to)
	}
	return begin, end
}

// Times outside these years are mistakes in the request.
const (
	minYear = 1970
	maxYear = 2199
)

func (p *Params) time(name string) time.Time {
	value, ok := p.One(name)
	if !ok {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, value)
	if err != nil {
		hint := ""
		if strings.Contains(value, " ") {
			hint = "; a + is written as %2B"
		}
		p.Refuse(name, "must be a time as 2026-11-22T10:00:00Z or 2026-11-22T10:00:00+01:00 (RFC 3339)%s", hint)
		return time.Time{}
	}
	if t = t.UTC(); t.Year() < minYear || t.Year() > maxYear {
		p.Refuse(name, "must lie between the years %d and %d", minYear, maxYear)
	}
	return t
}

// Duration returns a span of time from one second to a year.
func (p *Params) Duration(name string, byDefault time.Duration) time.Duration {
	return p.duration(name, byDefault, time.Second, 365*24*time.Hour, "such as 90s, 15m or 12h, from one second to a year")
}

// DurationWithin returns a span of time within bounds.
func (p *Params) DurationWithin(name string, byDefault, least, most time.Duration) time.Duration {
	return p.duration(name, byDefault, least, most, fmt.Sprintf("from %v to %v", least, most))
}

func (p *Params) duration(name string, byDefault, least, most time.Duration, hint string) time.Duration {
	value, ok := p.One(name)
	if !ok {
		return byDefault
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < least || d > most {
		p.Refuse(name, "must be a duration with a unit, %s", hint)
	}
	return d
}

// IDOf returns the id that a request is about: from its path, or from the
// parameter of that name where its path has none.
func IDOf(c echo.Context, p *Params, name string) (string, error) {
	if slices.Contains(c.ParamNames(), name) {
		return pathText(c, name)
	}
	value, faults := p.Text(name), len(p.faults)
	if value == "" && faults == 0 {
		p.Refuse(name, "is missing; it says which one is meant")
	}
	return value, p.refusal()
}

// ReadID reads a request that takes an id and nothing else.
func ReadID(c echo.Context, name string) (string, error) {
	p, err := ReadParams(c.Request())
	if err != nil {
		return "", err
	}
	id, err := IDOf(c, p, name)
	if err == nil {
		err = p.Done()
	}
	return id, err
}

// pathText returns an id from the path.
func pathText(c echo.Context, name string) (string, error) {
	value := PathParam(c, name)
	if !plainText(value) || value == "" {
		return "", BadParam(&taskfeed.Error{Code: taskfeed.CodeBadRequest, Message: "the id in the path " + textRule}, name, textRule)
	}
	return value, nil
}

// NoParams refuses any parameter.
func NoParams(c echo.Context) error {
	p, err := ReadParams(c.Request())
	if err != nil {
		return err
	}
	return p.Done()
}

// PathParam returns a decoded parameter of the path. echo leaves encoded what
// net/url leaves encoded, such as an escaped slash.
func PathParam(c echo.Context, name string) string {
	value := c.Param(name)
	if c.Request().URL.RawPath == "" {
		return value
	}
	if decoded, err := url.PathUnescape(value); err == nil {
		return decoded
	}
	return value
}
