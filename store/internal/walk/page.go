package walk

import "strings"

// Page builds the statement of one page of a list.
type Page struct {
	Table     string
	Columns   string // as they are stored
	Scanned   string // as they are scanned, made of Columns
	Size      string // about how many bytes of a row vary
	By        []string
	Direction Direction
}

// Of is the statement of a page, of walks that [Page.Plain], [Page.Narrow] or
// [Page.Sorted] made. It ends the page before it grows too large; the first item always
// fits. Its rows end with how many rows there were to choose from (one more than asked
// for when there are more), whether the row belongs to the list, and whether the page
// ends with it.
func (p Page) Of(walks ...string) string {
	by := p.Direction.by(p.By...)
	return `
SELECT ` + p.Scanned + `, candidates, fits, ends
FROM (
    SELECT ` + p.Columns + `, fits, ends, sum(size) OVER (` + by + ` ROWS UNBOUNDED PRECEDING) - size AS earlier, count(*) OVER () AS candidates
    FROM (
        SELECT ` + p.Columns + `, fits, ends, CASE WHEN fits THEN ` + p.Size + ` ELSE 0 END AS size
        FROM (
` + Indent(3, Union(walks)) + `) AS walked
        ` + by + `
        LIMIT @limit + 1) AS sized) AS summed
WHERE earlier < @bytes
` + by + `
LIMIT @limit`
}

// Plain is a walk of which all rows belong to the list.
func (p Page) Plain(w Walk) string {
	return w.Select(p.Columns+", true AS fits, false AS ends", p.Table, p.Direction, "LIMIT @limit + 1")
}

// Narrow is a walk that passes rows which do not meet the conditions, but no more than
// @scan rows in all. The last of those is returned even if it does not meet them: the
// page ends with it.
func (p Page) Narrow(w Walk, conditions []string) string {
	by := p.Direction.by(w.By...)
	return p.scanned(w, func(scan string) string {
		return `(SELECT ` + p.Columns + `, fits, ends
FROM (
    SELECT ` + p.Columns + `, (` + strings.Join(conditions, " AND ") + `) IS TRUE AS fits, row_number() OVER (` + by + `) = @scan AS ends
    FROM (
` + Indent(2, scan) + `) AS scanned) AS numbered
WHERE fits OR ends
` + by + `
LIMIT @limit + 1)`
	})
}

// Sorted is a walk of up to @scan rows that are filtered and put into the order of the
// list afterwards. It is for an index that is known to have few rows.
func (p Page) Sorted(w Walk, conditions []string) string {
	return p.scanned(w, func(scan string) string {
		return `(SELECT ` + p.Columns + `, true AS fits, false AS ends
FROM (
` + Indent(1, scan) + `) AS scanned` + where(conditions) + `
` + p.Direction.by(p.By...) + `
LIMIT @limit + 1)`
	})
}

// scanned puts the first @scan rows of a walk into a statement, which is then repeated
// in the walk's place.
func (p Page) scanned(w Walk, into func(scan string) string) string {
	repeat := w.Repeat
	w.Repeat = nil
	sql := into(w.Select(p.Columns, p.Table, p.Direction, "LIMIT @scan"))
	if repeat != nil {
		return repeat(sql)
	}
	return sql
}
