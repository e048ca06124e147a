package verify

import (
	"fmt"
	"strings"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// change is one row as test_decoding prints it:
//
//	table taskfeed.tasks: UPDATE: id[text]:'t1' progress[smallint]:5 result[jsonb]:unchanged-toast-datum
type change struct {
	table   string // with its schema
	op      string // INSERT, UPDATE, DELETE
	columns map[string]*string
}

// unchanged is what test_decoding prints for a large value that the update did not
// change.
const unchanged = "unchanged-toast-datum"

// decodeChange reads one line. ok is false for lines that are not a change of a row.
func decodeChange(line string) (c change, ok bool, err error) {
	rest, ok := strings.CutPrefix(line, "table ")
	if !ok {
		return change{}, false, nil
	}
	var found bool
	if c.table, rest, found = strings.Cut(rest, ": "); found {
		c.op, rest, found = strings.Cut(rest, ":")
	}
	if !found {
		return change{}, false, fmt.Errorf("decode %.80q: no table or no operation", line)
	}
	if _, after, found := strings.Cut(rest, " new-tuple: "); found && strings.HasPrefix(rest, " old-key: ") {
		rest = after
	}
	c.columns = make(map[string]*string)
	for rest = strings.TrimPrefix(rest, " "); rest != "" && rest != "(no-tuple-data)"; rest = strings.TrimPrefix(rest, " ") {
		if rest, err = c.decodeColumn(rest); err != nil {
			return change{}, false, err
		}
	}
	return c, true, nil
}

// decodeColumn reads name[type]:value and returns what follows.
func (c *change) decodeColumn(text string) (rest string, err error) {
	name, rest, ok := strings.Cut(text, "[")
	if ok {
		_, rest, ok = strings.Cut(rest, "]:")
	}
	if !ok {
		return "", fmt.Errorf("decode %.80q: no column", text)
	}
	if quoted, ok := strings.CutPrefix(rest, "'"); ok {
		value, rest, ok := unquote(quoted)
		if !ok {
			return "", fmt.Errorf("decode %.80q: a value has no end", text)
		}
		c.columns[name] = &value
		return rest, nil
	}
	value, rest, _ := strings.Cut(rest, " ")
	switch value {
	case unchanged:
	case "null":
		c.columns[name] = nil
	default:
		c.columns[name] = &value
	}
	return rest, nil
}

// unquote reads up to the closing quote; two quotes stand for one.
func unquote(text string) (value, rest string, ok bool) {
	var b strings.Builder
	for {
		part, after, ok := strings.Cut(text, "'")
		if !ok {
			return "", "", false
		}
		b.WriteString(part)
		if !strings.HasPrefix(after, "'") {
			return b.String(), after, true
		}
		b.WriteByte('\'')
		text = after[1:]
	}
}

// row returns the change as the history keeps it; ok is false for tables that the judge
// does not use.
func (c *change) row() (r history.Row, ok bool) {
	r = history.Row{Change: c.op, Columns: c.columns}
	switch {
	case c.table == "taskfeed.tasks":
		r.Table = "tasks"
	case c.table == opsTable:
		r.Table = "ops"
	case strings.HasPrefix(c.table, "taskfeed.events_") && c.op == "INSERT":
		r.Table = "events"
	default:
		return c.jobsRow()
	}
	return r, true
}
