// Package history is the reading side of taskfeed: lists of tasks and of events,
// the timeline of a task, and statistics.
//
// Lists come in pages. A page has a token for the place where the next one begins, so
// that the server keeps nothing between pages and a deep page costs what the first
// does. The pages of a list are not one snapshot: see [TaskPage] for what a client can
// rely on, and how it continues with a feed.
//
// The files in testdata/sql show each statement with its plan.
package history

import "github.com/taskfeed/taskfeed/store/internal/pg"

// Reader reads the history. It is safe for concurrent use.
type Reader struct {
	pool *pg.Pool
	scan int // rows that a walk of a list may pass for one page
}

// New returns a reader over a pool of connections, that of store.Store.Queries.
func New(pool *pg.Pool) *Reader { return &Reader{pool: pool, scan: maxListScan} }
