// Package plans shows tests what Postgres does for the statements that a package
// sends.
package plans

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Node is what EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) says of one node of a plan.
type Node struct {
	Type          string  `json:"Node Type"`
	Table         string  `json:"Relation Name"`
	Index         string  `json:"Index Name"`
	Rows          float64 `json:"Actual Rows"`
	Loops         float64 `json:"Actual Loops"`
	RemovedFilter float64 `json:"Rows Removed by Filter"`
	RemovedCheck  float64 `json:"Rows Removed by Index Recheck"`
	Hit           int     `json:"Shared Hit Blocks"`
	Read          int     `json:"Shared Read Blocks"`
	Plans         []Node  `json:"Plans"`
}

// Parse reads a plan, or fails the test with the error that came with it.
func Parse(t testing.TB, plan []byte, err error) *Node {
	t.Helper()
	var explained []struct{ Plan Node }
	if err == nil {
		err = json.Unmarshal(plan, &explained)
	}
	if err != nil || len(explained) != 1 {
		t.Fatalf("explain: %d plans, error %v\n%s", len(explained), err, plan)
	}
	return &explained[0].Plan
}

// Visit calls f for the node and all below it.
func (n *Node) Visit(f func(*Node)) {
	f(n)
	for i := range n.Plans {
		n.Plans[i].Visit(f)
	}
}

// Blocks is how many blocks of tables and indexes were looked at.
func (n *Node) Blocks() int { return n.Hit + n.Read }

// Scans is how many nodes are of a type.
func (n *Node) Scans(nodeType string) (count int) {
	n.Visit(func(n *Node) {
		if n.Type == nodeType {
			count++
		}
	})
	return count
}

// Statement is one that was sent.
type Statement struct {
	SQL      string
	Args     []any
	settings []string // sent before it in the same batch
}

// Explain runs a statement and returns its plan.
func (s Statement) Explain(t testing.TB, conn *pgx.Conn) *Node {
	t.Helper()
	lines, err := s.explain(t.Context(), conn, "ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON")
	return Parse(t, []byte(strings.Join(lines, "\n")), err)
}

// Plan returns the plan of a statement as text, without what varies from one run to
// the next. It does not run the statement.
func (s Statement) Plan(t testing.TB, conn *pgx.Conn) string {
	t.Helper()
	lines, err := s.explain(t.Context(), conn, "COSTS OFF")
	if err != nil {
		t.Fatalf("explain %s: %v", s.SQL, err)
	}
	return strings.Join(lines, "\n")
}

func (s Statement) explain(ctx context.Context, conn *pgx.Conn, options string) (lines []string, err error) {
	batch := &pgx.Batch{} // one transaction
	for _, settings := range s.settings {
		batch.Queue(settings)
	}
	batch.Queue("EXPLAIN ("+options+") "+s.SQL, s.Args...).Query(func(rows pgx.Rows) (err error) {
		lines, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	return lines, conn.SendBatch(ctx, batch).Close()
}

// Recorder is a tracer that keeps the statements that read something.
type Recorder struct {
	mu         sync.Mutex
	statements []Statement
	settings   []string // of the batch that is being sent
}

// Watch returns a pool like this one whose statements are recorded. It is closed with
// the test.
func (r *Recorder) Watch(t testing.TB, pool *pgxpool.Pool) *pgxpool.Pool {
	t.Helper()
	cfg := pool.Config()
	cfg.ConnConfig.Tracer = r
	watched, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatalf("open a pool: %v", err)
	}
	t.Cleanup(watched.Close)
	return watched
}

// Take returns what was sent since it was last called.
func (r *Recorder) Take() []Statement {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.statements
	r.statements = nil
	return taken
}

func (r *Recorder) note(sql string, args []any) {
	args = slices.DeleteFunc(slices.Clone(args), func(arg any) bool { _, mode := arg.(pgx.QueryExecMode); return mode })
	r.statements = append(r.statements, Statement{sql, args, r.settings})
}

// TraceQueryStart is of [pgx.QueryTracer].
func (r *Recorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if sql := strings.TrimSpace(d.SQL); strings.HasPrefix(sql, "SELECT") || strings.HasPrefix(sql, "WITH") {
		r.note(d.SQL, d.Args)
	}
	return ctx
}

// TraceQueryEnd is of [pgx.QueryTracer].
func (r *Recorder) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TraceBatchStart is of [pgx.BatchTracer].
func (r *Recorder) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settings = nil
	return ctx
}

// TraceBatchQuery is of [pgx.BatchTracer].
func (r *Recorder) TraceBatchQuery(_ context.Context, _ *pgx.Conn, d pgx.TraceBatchQueryData) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if strings.Contains(d.SQL, "set_config(") {
		r.settings = append(r.settings, d.SQL)
		return
	}
	r.note(d.SQL, d.Args)
}

// TraceBatchEnd is of [pgx.BatchTracer].
func (r *Recorder) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settings = nil
}
