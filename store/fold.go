package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/taskfeed/taskfeed"
)

// The triggers of attached tables write facts: the values that a row has now, or that
// it is gone. Folding applies facts, in their order, to tasks, and makes events of the
// differences that a user can see. It works in memory and does not use the database.

// Kinds of facts, in the column type of changes.
const (
	factRow      = "row"      // the row as it is now
	factGone     = "gone"     // it was deleted
	factLeft     = "left"     // it does not pass the filter any more, or has another id
	factBroken   = "broken"   // its mapping failed
	factTruncate = "truncate" // all rows are gone
	factAttached = "attached" // the source is new or was changed
	factStale    = "stale"    // never captured: a row that was recorded under another mapping
)

// fact is one change of a row of an attached table.
type fact struct {
	source, kind, task string
	at                 time.Time
	data               factData
	hash               int64     // of the result
	filled             *fillRule // of a row that was read from the table, not captured
}

// factData is the data of a fact, as the functions that attach makes write it.
type factData struct {
	// Of a row. The status is null if the map does not name its value.
	Status    *taskfeed.Status `json:"status"`
	Value     *string          `json:"value"`
	Users     json.RawMessage  `json:"users"`
	Kind      *string          `json:"kind"`
	Progress  json.RawMessage  `json:"progress"`
	Fraction  json.RawMessage  `json:"fraction"`
	Done      json.RawMessage  `json:"done"`
	Total     json.RawMessage  `json:"total"`
	Message   *string          `json:"message"`
	Error     *string          `json:"error"`
	Result    json.RawMessage  `json:"result"`
	CreatedAt string           `json:"created_at"`

	// Of a row that is gone: what the deletion means for a task of each status.
	Queued  deletion `json:"queued"`
	Running deletion `json:"running"`
	Final   deletion `json:"final"`

	OnTruncate string `json:"on_truncate"`

	// Of a mapping that failed. Its message is in Message.
	State string `json:"state"`
}

// deletion is what the deletion of a row means: the status that its task has then, that
// it stays as it is, or anything else: that it is deleted too.
type deletion string

const deletionKeeps deletion = "keep"

// Bounds on a task of an attached table: every row of an app makes a task that can be
// written and an event that has room for its fields.
const (
	maxOwners       = 64
	maxMessageBytes = 10_000
	maxErrorBytes   = 500
)

// folded is a task after the facts so far. Without a source there is no such task.
type folded struct {
	source    string
	owners    []string
	status    taskfeed.Status
	progress  int
	kind      *string
	message   *string
	errorText *string
	result    *string // JSON
	hash      int64   // of the result
	crowded   bool    // its row has more owners than a task may have
	version   int64
	createdAt time.Time
	updatedAt time.Time
}

func (t folded) exists() bool { return t.source != "" }
func (t folded) final() bool {
	return t.status != taskfeed.StatusQueued && t.status != taskfeed.StatusRunning
}

// told is an event that folding makes, with the task as it was at that moment.
type told struct {
	user, id  string
	eventType taskfeed.Type
	version   int64
	at        time.Time
	task      folded
}

// counts is what went wrong with the facts of one source in a page.
type counts struct {
	errors, unmapped, unowned int
	unknown                   map[string]int // values that the map does not name
	lastError                 string
	reset                     bool // users must be told that something is missing
	again                     bool // all rows are to be read again
}

// folder folds the facts of one page.
type folder struct {
	tasks  map[string]folded // as they are now, by id
	dirty  map[string]bool   // those that changed
	events []told
	counts map[string]*counts // by source
}

func newFolder(tasks map[string]folded) *folder {
	return &folder{tasks: tasks, dirty: map[string]bool{}, counts: map[string]*counts{}}
}

func (f *folder) count(source string) *counts {
	c := f.counts[source]
	if c == nil {
		c = &counts{unknown: map[string]int{}}
		f.counts[source] = c
	}
	return c
}

func (c *counts) fail(reason string) {
	c.errors++
	c.lastError = reason
}

// fold takes the next fact.
func (f *folder) fold(x fact) {
	t := f.tasks[x.task]
	switch {
	case !taskfeed.ValidID(x.task):
		f.count(x.source).fail("the id of a row is empty, over 255 bytes long or has control characters")
	case t.exists() && t.source != x.source:
		f.count(x.source).fail("a task with the id of a row exists already: " + x.task)
	case x.kind == factRow:
		f.row(x, t)
	case x.kind == factGone && t.exists():
		f.gone(x, t)
	case x.kind == factLeft && t.exists():
		f.remove(x, t)
	}
}

func (f *folder) row(x fact, was folded) {
	c := f.count(x.source)
	if x.data.Status == nil {
		c.unmapped++
		c.unknown[shorten(orNull(x.data.Value), 100)]++
		return
	}
	if !slices.Contains(taskfeed.Statuses, *x.data.Status) { // "none"
		return
	}
	now := x.folded(was)
	if len(now.owners) == 0 {
		c.unowned++
		if was.exists() {
			f.remove(x, was)
		}
		return
	}
	if !was.exists() && x.filled != nil && x.filled.excludes(now) {
		return
	}
	if now.crowded {
		c.fail(fmt.Sprintf("a row has more than %d owners, and the others are not told: %s", maxOwners, x.task))
	}
	f.become(x, was, now)
}

// become changes a task and tells its owners of the difference, if there is one. New
// owners get the whole task; former owners are told that it is gone.
func (f *folder) become(x fact, was, now folded) {
	same := was.exists() && sameState(was, now)
	moved := was.progress != now.progress || !equal(was.message, now.message)
	if same && !moved && sameOwners(was.owners, now.owners) {
		return
	}
	now.version, now.updatedAt = was.version+1, x.at
	for _, user := range was.owners {
		if !slices.Contains(now.owners, user) {
			f.tell(x, user, taskfeed.TypeTaskDeleted, now)
		}
	}
	for _, user := range now.owners {
		switch {
		case !same || !slices.Contains(was.owners, user):
			f.tell(x, user, statusTypes[now.status], now)
		case moved:
			f.tell(x, user, taskfeed.TypeTaskProgress, now)
		}
	}
	f.set(x.task, now)
}

func (f *folder) gone(x fact, t folded) {
	rule := x.data.Final
	if !t.final() {
		rule = x.data.Running
		if t.status == taskfeed.StatusQueued {
			rule = x.data.Queued
		}
	}
	switch rule {
	case deletionKeeps:
	case deletion(taskfeed.StatusCompleted), deletion(taskfeed.StatusFailed), deletion(taskfeed.StatusCanceled):
		now := t
		now.status = taskfeed.Status(rule)
		f.become(x, t, now)
	default:
		f.remove(x, t)
	}
}

func (f *folder) remove(x fact, t folded) {
	t.version++
	for _, user := range t.owners {
		f.tell(x, user, taskfeed.TypeTaskDeleted, t)
	}
	f.set(x.task, folded{})
}

func (f *folder) tell(x fact, user string, eventType taskfeed.Type, t folded) {
	f.events = append(f.events, told{user: user, id: x.task, eventType: eventType, version: t.version, at: x.at, task: t})
}

func (f *folder) set(id string, t folded) {
	f.tasks[id] = t
	f.dirty[id] = true
}

// folded returns the task that a row makes of the one before.
func (x fact) folded(was folded) folded {
	d := x.data
	users, crowded := owners(d.Users)
	now := folded{source: x.source, owners: users, crowded: crowded, status: *d.Status, progress: was.progress, version: was.version,
		createdAt: was.createdAt, kind: bounded(d.Kind, taskfeed.MaxIDBytes), message: bounded(d.Message, maxMessageBytes)}
	if p, ok := d.percent(); ok {
		now.progress = p
	}
	if now.status == taskfeed.StatusFailed || now.status == taskfeed.StatusCanceled {
		now.errorText = firstLine(d.Error)
	}
	if result := bytes.TrimSpace(d.Result); len(result) > 0 && string(result) != "null" {
		text := string(result)
		now.result, now.hash = &text, x.hash
	}
	if !was.exists() {
		now.createdAt = x.at
		if at, err := time.Parse(time.RFC3339Nano, d.CreatedAt); err == nil && at.Year() >= 1 && at.Year() < 9998 {
			now.createdAt = at
		}
	}
	return now
}

// percent returns the progress of a row from 0 to 100, and false if it has none.
func (d factData) percent() (int, bool) {
	var p float64
	switch {
	case d.Total != nil:
		done, ok := number(d.Done)
		total, known := number(d.Total)
		if !ok || !known || total <= 0 {
			return 0, false
		}
		p = 100 * done / total
	case d.Fraction != nil:
		fraction, ok := number(d.Fraction)
		if !ok {
			return 0, false
		}
		p = 100 * fraction
	default:
		percent, ok := number(d.Progress)
		if !ok {
			return 0, false
		}
		p = percent
	}
	return int(math.Round(min(max(p, 0), 100))), true
}

// number reads a JSON number, or a text that is one.
func number(raw json.RawMessage) (float64, bool) {
	var n *float64
	text := strings.Trim(string(bytes.TrimSpace(raw)), `" `)
	if err := json.Unmarshal([]byte(text), &n); err != nil || n == nil {
		return 0, false
	}
	return *n, true
}

// owners reads the users of a row: a text, a number, or a list of these. It leaves
// out what cannot be a user, and all after the first maxOwners, of which it tells.
func owners(raw json.RawMessage) (users []string, more bool) {
	var list []any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var one any
	if err := decoder.Decode(&one); err != nil {
		return nil, false
	}
	list, isList := one.([]any)
	if !isList {
		list = []any{one}
	}
	for _, v := range list {
		var user string
		switch v := v.(type) {
		case string:
			user = v
		case json.Number:
			user = v.String()
		}
		switch {
		case !taskfeed.ValidID(user) || slices.Contains(users, user):
		case len(users) == maxOwners:
			return users, true
		default:
			users = append(users, user)
		}
	}
	return users, false
}

// statusTypes has the event that tells of each status.
var statusTypes = map[taskfeed.Status]taskfeed.Type{
	taskfeed.StatusQueued:    taskfeed.TypeTaskQueued,
	taskfeed.StatusRunning:   taskfeed.TypeTaskStarted,
	taskfeed.StatusCompleted: taskfeed.TypeTaskCompleted,
	taskfeed.StatusFailed:    taskfeed.TypeTaskFailed,
	taskfeed.StatusCanceled:  taskfeed.TypeTaskCanceled,
}

func sameState(a, b folded) bool {
	return a.status == b.status && equal(a.kind, b.kind) && equal(a.errorText, b.errorText) && a.hash == b.hash
}

func sameOwners(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(user string) bool { return !slices.Contains(b, user) })
}

func equal(a, b *string) bool {
	return (a == nil) == (b == nil) && (a == nil || *a == *b)
}

func bounded(s *string, most int) *string {
	if s == nil || len(*s) <= most {
		return s
	}
	short := shorten(*s, most)
	return &short
}

func firstLine(s *string) *string {
	if s == nil {
		return nil
	}
	line, _, _ := strings.Cut(strings.TrimSpace(*s), "\n")
	return bounded(&line, maxErrorBytes)
}

// shorten takes the beginning of a text, in whole characters.
func shorten(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

func orNull(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}
