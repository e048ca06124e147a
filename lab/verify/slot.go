package verify

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/query"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// opsTable is where writers record events that belong to no task. It is in a schema
// of the harness.
const (
	opsSchema = "taskfeed_verify"
	opsTable  = opsSchema + ".ops"

	receivedTable = opsSchema + ".received" // what the app of the mailbox has received
)

const sqlOps = `
CREATE SCHEMA ` + opsSchema + `;
CREATE TABLE ` + opsTable + ` (op text PRIMARY KEY, user_id text, type text NOT NULL, data jsonb NOT NULL);
CREATE TABLE ` + receivedTable + ` (ref text NOT NULL)`

const slotName = "taskfeed_verify"

const sqlMakeSlot = `SELECT pg_create_logical_replication_slot('` + slotName + `', 'test_decoding')`

const sqlReadSlot = `
SELECT (lsn - '0/0'::pg_lsn)::bigint, xid::text, data
FROM pg_logical_slot_peek_changes('` + slotName + `', NULL, 20000, 'skip-empty-xacts', '1')`

// The slot advances only after its changes are recorded: a fault may interrupt a read.
const sqlMoveSlot = `SELECT pg_replication_slot_advance('` + slotName + `', '0/0'::pg_lsn + $1::numeric)`

// slot records what committed, in the order of the commits, from Postgres's
// write-ahead log through test_decoding, which is independent of taskfeed.
type slot struct {
	db  *database
	out *history.File

	mu      sync.Mutex
	conn    *pgx.Conn
	pending *history.Commit // between its BEGIN and its COMMIT
	last    uint64          // end of the last recorded commit
	highest int64           // highest id of a change in the recorded commits

	// Counts of what is recorded so far.
	events  atomic.Int64
	commits atomic.Int64
	late    atomic.Int64 // commits that have a change with a lower id than one in an earlier commit
}

// newSlot creates the slot. Earlier commits are not recorded.
func newSlot(ctx context.Context, db *database, dir string) (*slot, error) {
	out, err := history.Create(dir, "truth.jsonl")
	if err != nil {
		return nil, err
	}
	s := &slot{db: db, out: out}
	if err := db.exec(ctx, sqlMakeSlot); err != nil {
		return nil, errors.Join(fmt.Errorf("make a logical slot: %w", err), out.Close())
	}
	return s, nil
}

func (s *slot) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangUp()
	return s.out.Close()
}

func (s *slot) hangUp() {
	if s.conn != nil {
		query.Close(s.conn)
		s.conn = nil
	}
}

// run reads until ctx is done. While the database is down it tries again.
func (s *slot) run(ctx context.Context) error {
	for ctx.Err() == nil {
		_ = s.drain(ctx) // the last drain of the round returns a lasting error
		pause.For(ctx, 250*time.Millisecond)
	}
	return nil
}

// drain records all that has committed so far.
func (s *slot) drain(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		n, err := s.page(ctx)
		if err != nil {
			s.hangUp()
			return fmt.Errorf("read the logical slot: %w", err)
		}
		if n == 0 {
			return nil
		}
	}
}

// page records the result of one read of the slot, advances the slot, and returns the
// number of lines. A read ends with a complete transaction.
func (s *slot) page(ctx context.Context) (lines int, err error) {
	if s.conn == nil {
		if s.conn, err = s.db.connect(ctx); err != nil {
			return 0, err
		}
	}
	s.pending = nil
	var lsn int64
	var xid, data string
	rows, _ := s.conn.Query(ctx, sqlReadSlot) // ForEachRow returns the error
	var page []history.Commit
	_, err = pgx.ForEachRow(rows, []any{&lsn, &xid, &data}, func() error {
		lines++
		return s.line(&page, uint64(lsn), xid, data)
	})
	if err != nil || lines == 0 {
		return 0, err
	}
	for i := range page {
		s.record(&page[i])
	}
	_, err = s.conn.Exec(ctx, sqlMoveSlot, strconv.FormatUint(s.last, 10))
	return lines, err
}

// line parses one line of the slot and adds it to the pending commit.
func (s *slot) line(page *[]history.Commit, lsn uint64, xid, data string) error {
	switch {
	case len(data) >= 5 && data[:5] == "BEGIN":
		n, err := strconv.ParseUint(xid, 10, 32)
		if err != nil {
			return fmt.Errorf("transaction id %q: %w", xid, err)
		}
		s.pending = &history.Commit{XID: uint32(n)}
		return nil
	case s.pending == nil:
		return fmt.Errorf("the line %.80q is outside of a transaction", data)
	case len(data) >= 6 && data[:6] == "COMMIT":
		s.pending.LSN = lsn
		*page = append(*page, *s.pending)
		s.pending = nil
		return nil
	}
	c, ok, err := decodeChange(data)
	if err != nil || !ok {
		return err
	}
	if c.table == "taskfeed.changes" && c.op == "INSERT" && c.columns["id"] != nil {
		id, err := strconv.ParseInt(*c.columns["id"], 10, 64)
		if err == nil && (s.pending.Change == 0 || id < s.pending.Change) {
			s.pending.Change = id
		}
		return err
	}
	if r, ok := c.row(); ok {
		s.pending.Rows = append(s.pending.Rows, r)
	}
	return nil
}

// record records a commit unless it is recorded already: after a crash a slot starts
// again a little earlier.
func (s *slot) record(c *history.Commit) {
	if c.LSN <= s.last {
		return
	}
	s.last = c.LSN
	s.commits.Add(1)
	if c.Change > 0 && c.Change < s.highest {
		s.late.Add(1)
	}
	s.highest = max(s.highest, c.Change)
	for _, r := range c.Rows {
		if r.Table == "events" {
			s.events.Add(1)
		}
	}
	s.out.Append(history.Truth{Commit: c})
}

// after reports whether a commit ends beyond lsn.
func (s *slot) after(lsn uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last > lsn
}

// fork records that the database continues as a copy that ends at lsn, and creates a
// slot there. Nothing may have been written to the copy yet.
func (s *slot) fork(ctx context.Context, lsn uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangUp()
	if err := s.db.exec(ctx, sqlMakeSlot); err != nil {
		return fmt.Errorf("make a logical slot on the copy: %w", err)
	}
	s.out.Append(history.Truth{Fork: &history.Fork{LSN: lsn}})
	s.last = lsn
	return nil
}
