// Package walk builds the statements of lists. A list is read along indexes, page by
// page: a page begins after the place of the item that ended the page before, so it
// costs the same however deep it lies, and rows that are written meanwhile do not
// move it. Where a filter leaves out rows of an index, a page ends after so many rows,
// whatever it found, and the next page continues there.
//
// The golden files of store/history and store show the statements that come out.
package walk

import "strings"

// Direction has the operators and the order of one direction of a list.
type Direction struct {
	// Later compares columns with a place that they are to come after, LaterOrAt with
	// one that they are to come after or stand at, EarlierOrAt the other way round.
	Later, LaterOrAt, EarlierOrAt string

	order string // after each column of ORDER BY
}

// Ascending and Descending are the directions.
var (
	Ascending  = Direction{Later: ">", LaterOrAt: ">=", EarlierOrAt: "<="}
	Descending = Direction{Later: "<", LaterOrAt: "<=", EarlierOrAt: ">=", order: " DESC"}
)

// by is an ORDER BY in this direction.
func (d Direction) by(columns ...string) string {
	return "ORDER BY " + strings.Join(columns, d.order+", ") + d.order
}

// Walk is the rows of one index, in its order.
type Walk struct {
	Where []string // what the columns that the index begins with are held to
	By    []string // the columns of the index, or those after the ones that have one value

	// Repeat, if any, puts the walk into a statement that repeats it for other values.
	Repeat func(walk string) string
	// Quota, if any, is how many rows a repeated walk may pass at a time.
	Quota string
}

// ForEach returns a Repeat for each row of a FROM item, whose columns the walk may name.
func ForEach(from string) func(walk string) string {
	return func(walk string) string {
		return `(SELECT walked.*
FROM ` + from + `
CROSS JOIN LATERAL (
` + Indent(1, walk) + `) AS walked)`
	}
}

// ForEachUser is the Repeat for each of @users, a user and groups, as owner.
var ForEachUser = ForEach(`unnest(@users::text[]) WITH ORDINALITY AS users (owner, place)`)

// Pinned holds a column to an argument and leaves it part of the order. With a plain
// "=" the order by the columns after it would do, so the planner could choose an index
// that begins with those and filter, which takes for ever when no row near its
// beginning matches. An array of one value does not count as a constant: only the
// index that begins with the column has this order, and its rows are estimated as
// those of "=".
func Pinned(column, argument string) string {
	return column + " = ANY (ARRAY[" + argument + "::text])"
}

// After returns a walk that is held to more conditions.
func (w Walk) After(conditions ...string) Walk {
	w.Where = append(append([]string{}, w.Where...), conditions...)
	return w
}

// Select is the statement of a walk up to a limit, in brackets.
func (w Walk) Select(columns, table string, d Direction, limit string) string {
	sql := `(SELECT ` + columns + `
FROM ` + table + where(w.Where) + `
` + d.by(w.By...) + `
` + limit + `)`
	if w.Repeat != nil {
		return w.Repeat(sql)
	}
	return sql
}

func where(conditions []string) string {
	if len(conditions) == 0 {
		return ""
	}
	return "\nWHERE " + strings.Join(conditions, "\n  AND ")
}

// Union is the rows of several walks.
func Union(selects []string) string { return strings.Join(selects, "\nUNION ALL\n") }

// Indent moves a statement so many levels to the right, into another one.
func Indent(levels int, sql string) string {
	margin := strings.Repeat("    ", levels)
	return margin + strings.ReplaceAll(sql, "\n", "\n"+margin)
}
