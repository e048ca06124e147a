package history

import (
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
)

// taskRaw are the columns of tasks as they are stored.
const taskRaw = `id, user_id, kind, status, progress, message, result, error, version, created_at, updated_at, source, updated_hour`

// taskColumns are taskRaw as scanTask takes them.
var taskColumns = `id, user_id, coalesce(kind, '') AS kind, status, progress,
    ` + shown("message", "''") + `,
    ` + shown("result", "NULL") + `,
    ` + shown("error", "''") + `,
    version, created_at, updated_at,
    array_remove(ARRAY[
        ` + cut("message") + `,
        ` + cut("result") + `,
        ` + cut("error") + `], NULL) AS truncated,
    coalesce(source, '') AS source`

// Lists leave out large fields, so that pages and exports stay small. A request for the
// one task gets them.
const (
	maxFieldBytes = 1 << 20 // of one field as text
	maxNesting    = 512     // levels of a result, as in events
)

// fieldSize is about how long a field is as text, estimated as in eventlog.DataSize.
func fieldSize(name string) string {
	return "coalesce(pg_column_size(" + name + ") * CASE WHEN pg_column_compression(" + name + ") IS NULL THEN 1 ELSE 16 END, 0)"
}

// fits is whether a field is small enough to be shown. It decompresses the field only
// when the stored size does not decide that.
func fits(name string) string {
	return fmt.Sprintf("pg_column_compression(%[1]s) IS NULL AND coalesce(pg_column_size(%[1]s), 0) <= %[2]d OR pg_column_size(%[1]s) <= %[3]d AND octet_length(%[1]s::text) <= %[3]d",
		name, maxFieldBytes/8, maxFieldBytes)
}

func shown(name, otherwise string) string {
	return "CASE WHEN " + fits(name) + " THEN coalesce(" + name + ", " + otherwise + ") ELSE " + otherwise + " END AS " + name
}

func cut(name string) string { return "CASE WHEN " + fits(name) + " THEN NULL ELSE '" + name + "' END" }

// taskSize is about how long the part of a task that varies is in a list.
var taskSize = fmt.Sprintf("least(%[1]s, %[4]d) + least(%[2]s, %[4]d) + least(%[3]s, %[4]d)",
	fieldSize("message"), fieldSize("result"), fieldSize("error"), maxFieldBytes)

// scanTask takes taskColumns in order, and leaves out a result that is nested too
// deeply for a list.
func scanTask(row pgx.CollectableRow, more ...any) (taskfeed.Task, error) {
	t, err := scanWholeTask(row, more...)
	if deeper(t.Result, maxNesting) {
		t.Result, t.Truncated = nil, append(t.Truncated, "result")
	}
	return t, err
}

// scanWholeTask takes taskColumns in order.
func scanWholeTask(row pgx.CollectableRow, more ...any) (t taskfeed.Task, err error) {
	err = row.Scan(append([]any{&t.ID, &t.UserID, &t.Kind, &t.Status, &t.Progress, &t.Message, (*[]byte)(&t.Result), &t.Error,
		&t.Version, &t.CreatedAt, &t.UpdatedAt, &t.Truncated, &t.Source}, more...)...)
	t.CreatedAt, t.UpdatedAt = t.CreatedAt.UTC(), t.UpdatedAt.UTC()
	return t, err
}

// taskBytes is the length of the part of a task that varies.
func taskBytes(t *taskfeed.Task) int { return len(t.Message) + len(t.Result) + len(t.Error) }

// deeper reports whether valid JSON has more levels than that.
func deeper(text []byte, levels int) bool {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case quoted:
			if c == '\\' {
				i++
			}
		case c == '{' || c == '[':
			if depth++; depth > levels {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
