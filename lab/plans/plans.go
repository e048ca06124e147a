// Package plans lets tests inspect the plans of the statements that a package sends.
package plans

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Node is one node of a plan, from EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON).
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

// Parse parses a plan, or fails the test with the given error.
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

// Visit calls f for the node and all nodes below it.
func (n *Node) Visit(f func(*Node)) {
	f(n)
	for i := range n.Plans {
		n.Plans[i].Visit(f)
	}
}

// Blocks returns how many blocks of tables and indexes were read.
func (n *Node) Blocks() int { return n.Hit + n.Read }

// Scans returns how many nodes have a type.
func (n *Node) Scans(nodeType string) (count int) {
	n.Visit(func(n *Node) {
		if n.Type == nodeType {
			count++
		}
	})
	return count
}

// Statement is a statement that was sent.
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

// plan returns the plan of a statement as text, without what varies from one run to
// the next. It does not run the statement.
func (s Statement) plan(t testing.TB, conn *pgx.Conn) string {
	t.Helper()
	lines, err := s.explain(t.Context(), conn, "COSTS OFF")
	if err != nil {
		t.Fatalf("explain %s: %v", s.SQL, err)
	}
	return recentTime.ReplaceAllString(strings.Join(lines, "\n"), "'…'::timestamp")
}

// recentTime matches times that depend on when a test runs, but not the minimum and
// maximum times.
var recentTime = regexp.MustCompile(`'2\d{3}-[^']*'::timestamp`)

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

// Recorder is a tracer that records the statements that read something.
type Recorder struct {
	mu         sync.Mutex
	statements []Statement
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

// Take returns the statements that were sent since its last call.
func (r *Recorder) Take() []Statement {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.statements
	r.statements = nil
	return taken
}

func (r *Recorder) note(settings []string, sql string, args []any) {
	args = slices.DeleteFunc(slices.Clone(args), func(arg any) bool { _, mode := arg.(pgx.QueryExecMode); return mode })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.statements = append(r.statements, Statement{sql, args, settings})
}

// TraceQueryStart implements [pgx.QueryTracer].
func (r *Recorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	if sql := strings.TrimSpace(d.SQL); strings.HasPrefix(sql, "SELECT") || strings.HasPrefix(sql, "WITH") {
		r.note(nil, d.SQL, d.Args)
	}
	return ctx
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (r *Recorder) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TraceBatchStart implements [pgx.BatchTracer]. Here the statements still have named
// arguments.
func (r *Recorder) TraceBatchStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceBatchStartData) context.Context {
	var settings []string
	for _, q := range d.Batch.QueuedQueries {
		if strings.Contains(q.SQL, "set_config(") {
			settings = append(settings, q.SQL)
		} else {
			r.note(slices.Clone(settings), q.SQL, q.Arguments)
		}
	}
	return ctx
}

// TraceBatchQuery implements [pgx.BatchTracer].
func (r *Recorder) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd implements [pgx.BatchTracer].
func (r *Recorder) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// Golden compares statements and their plans with a golden file, or writes it. The plans
// are those of the server version that the file names; with another version only the
// statements are compared.
func Golden(t testing.TB, conn *pgx.Conn, file, title string, statements []Statement, update bool) {
	t.Helper()
	var now int
	if err := conn.QueryRow(t.Context(), "SELECT current_setting('server_version_num')::int / 10000").Scan(&now); err != nil {
		t.Fatal(err)
	}
	with := now == goldenVersion
	var text strings.Builder
	fmt.Fprintf(&text, "-- %s\n", title)
	for _, s := range statements {
		fmt.Fprintf(&text, "\n%s;\n", strings.TrimSpace(s.SQL))
		if with {
			fmt.Fprintf(&text, "\n-- %s\n", strings.ReplaceAll(s.plan(t, conn), "\n", "\n-- "))
		}
	}
	if update && with {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (-update writes it)", err)
	}
	compare(t, file, text.String(), string(want), with)
}

// goldenVersion is the server version of the plans in golden files.
const goldenVersion = 15

// compare reports the first line that differs. Without plans it ignores the lines of
// plans.
func compare(t testing.TB, file, got, want string, plans bool) {
	t.Helper()
	gotLines, wantLines := lines(got, plans), lines(want, plans)
	for i := range max(len(gotLines), len(wantLines)) {
		g, w := at(gotLines, i), at(wantLines, i)
		if g != w {
			t.Errorf("%s would have\n  %s\nnot\n  %s\n(-update writes it)", file, g, w)
			return
		}
	}
}

// lines returns the lines of a golden file that are not empty. The first comment is
// the title, the others are plans.
func lines(text string, plans bool) (kept []string) {
	for i, line := range strings.Split(text, "\n") {
		if line != "" && (plans || i == 0 || !strings.HasPrefix(line, "--")) {
			kept = append(kept, line)
		}
	}
	return kept
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}
