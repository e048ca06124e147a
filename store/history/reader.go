package history

import "github.com/taskfeed/taskfeed/store/internal/pg"

// Reader reads the history. It is safe for concurrent use.
type Reader struct {
	pool *pg.Pool
	scan int // rows that a walk of a list may pass for one page
}

// New returns a reader over a pool of connections; store.Store has one.
func New(pool *pg.Pool) *Reader { return &Reader{pool: pool, scan: maxListScan} }
